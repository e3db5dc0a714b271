"""Stores model calls: one row for each call; a later write of the same call replaces it.

One statement stores a batch. It looks up user, thread and project of each call: the id of a deleted one is left out of
the row, and then the payload of the call is not stored either. The cost stays.
"""

from collections.abc import Sequence
from datetime import date
from functools import cache
from operator import attrgetter
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Executable, Table, Text, bindparam, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_now
from datalayer.dialects import Dialect
from datalayer.records.usage import LlmCall, LlmCallPayload, LlmCallWrite
from datalayer.schema.chat import threads, users
from datalayer.schema.rows import column_names
from datalayer.schema.usage import llm_call_payloads, llm_calls, projects

_NAMES = column_names(LlmCall, llm_calls)
# Each call is written twice, on the way to its provider and back.
_PARAMETERS, _values_of = tuple(f"new_{column}" for column in _NAMES.values()), attrgetter(*_NAMES)
_CONTENTS = {"messages", "response"}


async def store(connection: AsyncConnection, dialect: Dialect, writes: Sequence[LlmCallWrite]) -> None:
    """Store the calls in their order, a later one over an earlier one of the same id.

    A call without a payload leaves a stored payload as it is.
    """
    store_call, store_payload = _statements(type(dialect))
    await connection.execute(store_call, [parameters(write.call) for write in writes])
    if payloads := [payload_parameters(write.call, write.payload) for write in writes if write.payload is not None]:
        await connection.execute(store_payload, payloads)


@cache
def _statements(dialect: type[Dialect]) -> tuple[Executable, Executable]:
    """Kept, because building them took longer than running them."""
    return call_statement(dialect), payload_statement(dialect, llm_calls.c)


def call_statement(dialect: type[Dialect]) -> Any:
    """The statement that stores a call, with the parameters of `parameters`."""
    statement = dialect.insert(llm_calls).values(_looked_up())
    newer = {name: statement.excluded[name] for name in _NAMES.values() if name != "id"}
    return statement.on_conflict_do_update(index_elements=[llm_calls.c.id], set_=newer)


def parameters(call: LlmCall) -> dict[str, Any]:
    """The parameters of the statement for a call."""
    values = dict(zip(_PARAMETERS, _values_of(call), strict=True))
    values["new_tags"] = list(call.tags) or None
    return values


def _looked_up() -> dict[str, ColumnElement[Any]]:
    """Each column's value: that of the call, or the id as the table that it belongs to knows it."""
    given: dict[str, ColumnElement[Any]] = {
        name: bindparam(f"new_{name}", type_=llm_calls.c[name].type) for name in _NAMES.values()
    }
    thread, user = _held(threads, given["threadId"]), _held(users, given["userId"])
    return given | {
        "projectId": _held(projects, given["projectId"]),
        "userId": user,
        # A key goes with its user.
        "keyId": case((user.is_not(None), given["keyId"])),
        "threadId": thread,
        "stepId": case((thread.is_not(None), given["stepId"])),
    }


def _held(table: Table, value: ColumnElement[Any]) -> ColumnElement[Any]:
    """The id, if the row exists; the row is locked, so that its deletion waits and then finds the call."""
    found = select(table.c.id).where(table.c.id == value)
    return found.with_for_update(read=True, key_share=True).scalar_subquery()


def payload_parameters(call: LlmCall, payload: LlmCallPayload) -> dict[str, Any]:
    """The parameters of the statement for the payload of a call."""
    now = utc_now()
    # The time at which an earlier state was stored, if the call seemed to be of the future, is not long before it.
    day_before = date.fromordinal(max(date.fromisoformat(call.requested_at[:10]).toordinal() - 1, 1)).isoformat()
    return {
        "new_callId": call.id,
        "new_messages": payload.messages,
        "new_response": payload.response,
        "new_createdAt": min(call.requested_at, now),
        "stored_since": day_before if call.requested_at <= now else "",
        "of_user": call.user_id is not None,
        "of_thread": call.thread_id is not None,
    }


def payload_statement(dialect: type[Dialect], columns: Any) -> Executable:
    """The statement that stores the payload of a call, with the parameters of `payload_parameters`.

    `columns`: id, userId and threadId of the call as it is stored.
    """
    table, stored = llm_call_payloads, llm_call_payloads.alias("stored_payload")
    new = {column.name: bindparam(f"new_{column.name}", type_=column.type) for column in table.c}
    # A stored payload keeps its time, which is a part of the key: that of the storing, if an older version stored it
    # or the call was of the future then. The bound leaves out partitions.
    earlier = select(func.min(stored.c.createdAt)).where(
        stored.c.callId == new["callId"], stored.c.createdAt >= bindparam("stored_since", type_=Text)
    )
    values = new | {"createdAt": func.coalesce(earlier.scalar_subquery(), new["createdAt"])}
    is_left = select(*values.values()).where(
        columns.id == new["callId"],
        or_(~bindparam("of_user", type_=Boolean), columns.userId.is_not(None)),
        or_(~bindparam("of_thread", type_=Boolean), columns.threadId.is_not(None)),
    )
    statement = dialect.insert(table).from_select([column.name for column in table.c], is_left)
    newer = {name: statement.excluded[name] for name in _CONTENTS}
    key = [table.c[name] for name in dialect.payload_key]
    upsert: Executable = statement.on_conflict_do_update(index_elements=key, set_=newer)
    return upsert
