"""Calls on their way into the database: each is stored once, and the newest that is said of it stands.

One statement serves all that are stored at once. It looks up whom and what a call is of: a user, a thread or a project
that is gone meanwhile is left out of the row, and then what was said in the call is not kept either. The bill stays.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Table, bindparam, case, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_now
from datalayer.dialects import Dialect
from datalayer.rows import column_names
from datalayer.schema import threads, users
from datalayer.usage_records import LlmCall, LlmCallPayload, LlmCallWrite
from datalayer.usage_schema import llm_call_payloads, llm_calls, projects

_NAMES = column_names(LlmCall, llm_calls)
_SAID = {"messages", "response"}


async def store(connection: AsyncConnection, dialect: Dialect, writes: Sequence[LlmCallWrite]) -> None:
    """Store the calls in their order, a later one over an earlier one of the same id.

    A call without a payload says nothing of what is kept of one.
    """
    statement = dialect.insert(llm_calls).values(_looked_up())
    others = {name: statement.excluded[name] for name in _NAMES.values() if name != "id"}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[llm_calls.c.id], set_=others),
        [parameters(write.call) for write in writes],
    )
    if payloads := [_payload(write.call, write.payload) for write in writes if write.payload is not None]:
        await _store_payloads(connection, dialect, payloads)


def parameters(call: LlmCall) -> dict[str, Any]:
    """What the statement is given for a call."""
    values = {f"new_{column}": getattr(call, field) for field, column in _NAMES.items()}
    return values | {"new_tags": list(call.tags) or None}


def _looked_up() -> dict[str, ColumnElement[Any]]:
    """Each column's value: that of the call, or the id as the table that it belongs to knows it."""
    given: dict[str, ColumnElement[Any]] = {
        name: bindparam(f"new_{name}", type_=llm_calls.c[name].type) for name in _NAMES.values()
    }
    thread = _held(threads, given["threadId"])
    return given | {
        "projectId": _held(projects, given["projectId"]),
        "userId": _held(users, given["userId"]),
        "threadId": thread,
        "stepId": case((thread.is_not(None), given["stepId"])),
    }


def _held(table: Table, value: ColumnElement[Any]) -> ColumnElement[Any]:
    """The id, if there is such a row; the row is held, so that its deletion waits and then finds the call."""
    found = select(table.c.id).where(table.c.id == value)
    return found.with_for_update(read=True, key_share=True).scalar_subquery()


def _payload(call: LlmCall, payload: LlmCallPayload) -> dict[str, Any]:
    return {
        "new_callId": call.id,
        "new_messages": payload.messages,
        "new_response": payload.response,
        "new_createdAt": utc_now(),
        "of_user": call.user_id is not None,
        "of_thread": call.thread_id is not None,
    }


async def _store_payloads(connection: AsyncConnection, dialect: Dialect, payloads: list[dict[str, Any]]) -> None:
    table = llm_call_payloads
    new = [bindparam(f"new_{column.name}", type_=column.type) for column in table.c]
    whose = llm_calls.c
    is_left = select(*new).where(
        whose.id == new[0],
        (~bindparam("of_user", type_=Boolean)) | whose.userId.is_not(None),
        (~bindparam("of_thread", type_=Boolean)) | whose.threadId.is_not(None),
    )
    statement = dialect.insert(table).from_select([column.name for column in table.c], is_left)
    newer = {name: statement.excluded[name] for name in _SAID}
    await connection.execute(statement.on_conflict_do_update(index_elements=[table.c.callId], set_=newer), payloads)
