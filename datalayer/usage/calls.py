"""SQL of single calls: a page in any order, one call with its payload, and all calls as a stream."""

import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    RowMapping,
    ScalarSelect,
    Select,
    Text,
    exists,
    func,
    literal,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer import cursors
from datalayer.cleaning import clean_text, known_id
from datalayer.database import Database
from datalayer.errors import InvalidRecord
from datalayer.records.usage import STOPPED, CallPage, CallRow, LlmCall, LlmCallPayload
from datalayer.schema.chat import Identifier, users
from datalayer.schema.rows import column_names, columns
from datalayer.schema.usage import Money, llm_call_payloads, llm_calls, projects
from datalayer.usage.cleaning import LARGEST_COST, LARGEST_COUNT
from datalayer.usage.filters import TOKENS

LARGEST_PAGE = 200
_EXPORTED_AT_ONCE = 500
# A statement has a column for each; SQLite takes 2,000, Postgres 1,664.
_ANSWERED_AT_ONCE = 500
# Calls that show how a provider ends its answers now.
_NEWEST = 500
_NAMES = column_names(LlmCall, llm_calls)
# Unknown values sort below zero.
_ORDERS: dict[str, ColumnElement[Any]] = {
    "requested_at": llm_calls.c.requestedAt,
    "cost": func.coalesce(llm_calls.c.totalCost, literal(Decimal(-1), Money), type_=Money),
    "tokens": TOKENS,
    "seconds": func.coalesce(llm_calls.c.seconds, literal(-1.0, Float), type_=Float),
}
ORDERS = tuple(_ORDERS)
# How the value in a cursor is read, with its smallest and largest valid value.
_PLACES: dict[str, tuple[Callable[[str], Any], Any, Any]] = {
    "cost": (Decimal, Decimal(-1), LARGEST_COST),
    "tokens": (int, 0, 2 * LARGEST_COUNT),
    "seconds": (float, -1.0, sys.float_info.max),
}


async def page(
    connection: AsyncConnection,
    chosen: ColumnElement[bool],
    *,
    order: str,
    descending: bool,
    cursor: str | None,
    limit: int,
) -> CallPage:
    """The calls after the cursor in this order, at most `LARGEST_PAGE`.

    Raises:
        InvalidRecord: the order is unknown, the cursor is not valid or of another order, or the limit is below 1.
    """
    if limit < 1:
        raise InvalidRecord(f"a page of {limit} calls is not valid: give at least 1")
    if order not in _ORDERS:
        raise InvalidRecord(f"cannot order calls by {clean_text(str(order))[:60]!r}: use {', '.join(ORDERS)}")
    size, key = min(limit, LARGEST_PAGE), _ORDERS[order]
    statement = _rows(chosen, key, descending=descending).limit(size + 1)
    if cursor is not None:
        place, last = _place(cursor, order)
        behind = tuple_(literal(place, key.type), literal(last, Identifier))
        here = tuple_(key, llm_calls.c.id)
        statement = statement.where(here < behind if descending else here > behind)
    rows = (await connection.execute(statement)).mappings().all()
    more = len(rows) > size
    return CallPage(
        rows=tuple(_call_row(row) for row in rows[:size]),
        next_cursor=cursors.encode("calls", order, str(rows[size - 1]["its place"]), rows[size - 1]["id"])
        if more
        else None,
    )


async def get(
    connection: AsyncConnection, chosen: ColumnElement[bool], call_id: str
) -> tuple[CallRow, LlmCallPayload | None] | None:
    """The call and its payload, if that is stored; None if the call does not match the condition."""
    statement = _rows(chosen, llm_calls.c.requestedAt, descending=False).where(llm_calls.c.id == call_id)
    row = (await connection.execute(statement)).mappings().first()
    if row is None:
        return None
    payloads = select(llm_call_payloads.c.messages, llm_call_payloads.c.response)
    found = (await connection.execute(payloads.where(llm_call_payloads.c.callId == call_id))).first()
    return _call_row(row), LlmCallPayload(call_id, *found) if found else None


async def of_step(
    connection: AsyncConnection, chosen: ColumnElement[bool], thread_id: str, step_id: str
) -> tuple[LlmCall, ...]:
    """The calls of a step that match the condition, oldest first. The thread is given because it has an index."""
    statement = _rows(chosen, llm_calls.c.requestedAt, descending=False).where(
        llm_calls.c.threadId == thread_id, llm_calls.c.stepId == step_id
    )
    return tuple(call_of(row) for row in (await connection.execute(statement)).mappings())


async def thread_and_user(connection: AsyncConnection, call_id: str) -> tuple[str | None, str | None] | None:
    """The ids of the thread and the user of a call; None if the call does not exist."""
    statement = select(llm_calls.c.threadId, llm_calls.c.userId).where(llm_calls.c.id == call_id)
    found = (await connection.execute(statement)).first()
    return (found.threadId, found.userId) if found else None


async def last_answered_by(connection: AsyncConnection, models: Sequence[str], provider: str) -> dict[str, str]:
    """The name of what answered the newest call to each model of this provider that says so. A model is
    missing if no call does. One statement for 500 models.
    """
    found = dict[str, str]()
    for begin in range(0, len(models), _ANSWERED_AT_ONCE):
        some = models[begin : begin + _ANSWERED_AT_ONCE]
        newest = [_newest_answer(name, provider).label(f"answer{at}") for at, name in enumerate(some)]
        row = (await connection.execute(select(*newest))).one()
        found |= {name: answer for name, answer in zip(some, row, strict=True) if answer is not None}
    return found


def _newest_answer(model: str, provider: str) -> ScalarSelect[str | None]:
    table = llm_calls.c
    return (
        select(table.answeredBy)
        .where(table.model == model, table.provider == provider, table.answeredBy.is_not(None), table.answeredBy != "")
        .order_by(table.requestedAt.desc(), table.id.desc())
        .limit(1)
        .scalar_subquery()
    )


async def has_sent_finish_reasons(connection: AsyncConnection, provider: str) -> bool:
    """Whether one of the newest calls is a streamed answer of this provider that it ended with a finish_reason."""
    table = llm_calls.c
    newest = select(llm_calls).order_by(table.requestedAt.desc(), table.id.desc()).limit(_NEWEST).subquery().c
    statement = select(
        exists().where(
            newest.provider == provider,
            newest.isStreaming.is_(True),
            newest.errorKind.is_(None),
            newest.finishReason.is_not(None),
            newest.finishReason.not_in(["", STOPPED]),
        )
    )
    return bool((await connection.execute(statement)).scalar())


async def export(database: Database, chosen: ColumnElement[bool]) -> AsyncIterator[CallRow]:
    """All calls, oldest first, read page by page, so that neither memory nor a transaction grows with their number."""
    moment = llm_calls.c.requestedAt
    statement = _rows(chosen, moment, descending=False).limit(_EXPORTED_AT_ONCE)
    page = statement
    while True:
        async with database.read() as connection:
            rows = (await connection.execute(page)).mappings().all()
        for row in rows:
            yield _call_row(row)
        if len(rows) < _EXPORTED_AT_ONCE:
            return
        place = tuple_(literal(rows[-1]["requestedAt"], Text), literal(rows[-1]["id"], Identifier))
        page = statement.where(tuple_(moment, llm_calls.c.id) > place)


def call_of(row: Mapping[Any, Any]) -> LlmCall:
    """The call of a row of `llm_calls`."""
    values = {field: row[column] for field, column in _NAMES.items()}
    return LlmCall(**values | {"tags": tuple(values["tags"] or ())})


def _rows(chosen: ColumnElement[bool], key: ColumnElement[Any], *, descending: bool) -> Select[Any]:
    order = (key.desc(), llm_calls.c.id.desc()) if descending else (key.asc(), llm_calls.c.id.asc())
    source = llm_calls.outerjoin(users, users.c.id == llm_calls.c.userId).outerjoin(
        projects, projects.c.id == llm_calls.c.projectId
    )
    names = (users.c.identifier.label("its user"), projects.c.name.label("its project"), key.label("its place"))
    return select(*columns(LlmCall, llm_calls), *names).select_from(source).where(chosen).order_by(*order)


def _call_row(row: RowMapping) -> CallRow:
    return CallRow(call_of(row), row["its user"], row["its project"])


def _place(cursor: str, order: str) -> tuple[Any, str]:
    of, place, call_id = cursors.decode(cursor, "calls", str, partial(_place_of, order), known_id)
    if of != order:
        raise InvalidRecord("the cursor is of another order: begin the list again without it", field="cursor")
    return place, call_id


def _place_of(order: str, text: str) -> Any:
    """Raises ValueError or InvalidOperation for a value that no call can have, on which the engine might fail."""
    if order not in _PLACES:
        return text
    read, least, most = _PLACES[order]
    value = read(text)
    if not least <= value <= most or (order == "cost" and value != round(value, 12)):
        raise ValueError(f"no call has this value of {order}")
    return value
