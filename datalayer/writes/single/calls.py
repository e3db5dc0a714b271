"""Calls to models: the row of a call, with its payload."""

from functools import cache
from typing import Any, cast

from sqlalchemy import Executable

from datalayer.dialects import Dialect
from datalayer.records.usage import LlmCallWrite
from datalayer.writes.calls import call_statement, parameters, payload_parameters, payload_statement
from datalayer.writes.single.statement import SingleWrite


def store_call(dialect: Dialect, write: LlmCallWrite) -> SingleWrite:
    """Store the call in place of an earlier state of it, and its payload if there is one."""
    values = parameters(write.call)
    if write.payload is not None:
        values |= payload_parameters(write.call, write.payload)
    return SingleWrite(_store(type(dialect), write.payload is not None), values, _stored)


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
