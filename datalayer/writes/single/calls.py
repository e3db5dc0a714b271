"""Calls to models: the row of a call, with its payload."""

from functools import cache
from typing import Any, cast

from sqlalchemy import Executable, func, true

from datalayer.dialects import Dialect
from datalayer.records.usage import IN_PROGRESS, LlmCallWrite
from datalayer.writes.calls import call_statement, parameters, payload_parameters, payload_statement
from datalayer.writes.single.statement import SingleWrite


def store_call(dialect: Dialect, write: LlmCallWrite) -> SingleWrite:
    """Store the call in place of an earlier state of it, and its payload if there is one."""
    values = parameters(write.call)
    if write.payload is not None:
        values |= payload_parameters(write.call, write.payload)
    is_begin = write.call.finish_reason == IN_PROGRESS and write.payload is None
    return SingleWrite(
        _begin(type(dialect)) if is_begin else _store(type(dialect), write.payload is not None), values, _stored
    )


def _stored(_rows: Any) -> None:
    """There is nothing to tell."""


@cache
def _store(dialect: type[Dialect], has_payload: bool) -> Executable:
    statement = call_statement(dialect)
    if not has_payload:
        return cast(Executable, statement)
    columns = statement.table.c
    stored = statement.returning(columns.id, columns.userId, columns.threadId).cte("stored")
    return payload_statement(dialect, stored.c)


@cache
def _begin(dialect: type[Dialect]) -> Executable:
    """Store a call that has not ended, without a wait for the disk, because its provider is not asked before.

    The row outlives the process that makes the call. If the database server fails in the same second, the row is lost,
    and the last row of the call is stored later.
    """
    return cast(Executable, call_statement(dialect).returning(func.set_config("synchronous_commit", "off", true())))
