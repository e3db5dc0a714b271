"""Reads a thread with its contents in one statement, on both engines: the thread, its steps, elements and votes.

The four are parts of one UNION ALL, so they take one round trip; each part uses its own index. Columns with the same
name share a place, and a part has NULL in the columns that it does not have. Rows become dictionaries, not records: a
long thread has hundreds of rows, and Chainlit needs dictionaries.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    CompoundSelect,
    Table,
    bindparam,
    cast,
    literal_column,
    null,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from datalayer.database import Database
from datalayer.history.steps import SHOWN as STEP_COLUMNS
from datalayer.records.chat import Element, Feedback, Thread
from datalayer.schema.chat import Identifier, elements, feedbacks, steps, threads
from datalayer.schema.rows import column_names

_THREAD_NAMES = column_names(Thread, threads)
_VOTE_NAMES = column_names(Feedback, feedbacks)
_ELEMENT_COLUMNS = tuple(column_names(Element, elements).values())
_THREAD, _STEP, _ELEMENT, _VOTE = range(4)
_PARTS: tuple[tuple[Table, tuple[str, ...], str], ...] = (
    (threads, tuple(_THREAD_NAMES.values()), "id"),
    (steps, STEP_COLUMNS, "threadId"),
    (elements, _ELEMENT_COLUMNS, "threadId"),
    (feedbacks, tuple(_VOTE_NAMES.values()), "threadId"),
)
# The number of the part comes first, then the columns of a step in one slice, because most rows are steps.
_TYPES: dict[str, TypeEngine[Any]] = {
    name: table.c[name].type for table, names, _ in (_PARTS[_STEP], *_PARTS) for name in names
}
_PLACES = {name: place for place, name in enumerate(_TYPES, 1)}
_STEP_PLACES = slice(1, len(STEP_COLUMNS) + 1)


def _parts(condition: Callable[[Column[Any]], ColumnElement[bool]]) -> CompoundSelect[Any]:
    """The four parts, of the threads whose id meets the condition."""
    return union_all(
        *(
            select(
                literal_column(str(part)).label("part"),
                *(table.c[name] if name in names else cast(null(), kind).label(name) for name, kind in _TYPES.items()),
            ).where(condition(table.c[key]))
            for part, (table, names, key) in enumerate(_PARTS)
        )
    )


_STATEMENT = _parts(lambda column: column == bindparam("thread_id", type_=Identifier, required=True))
_thread_values, _element_values, _vote_values = (
    itemgetter(*(_PLACES[name] for name in _PARTS[part][1])) for part in (_THREAD, _ELEMENT, _VOTE)
)
_moment, _id, _thread_id = (itemgetter(_PLACES[name]) for name in ("createdAt", "id", "threadId"))
_Parts = tuple[list[Any], list[Any], list[Any], list[Any]]


@dataclass(frozen=True, slots=True)
class WholeThread:
    """A thread with its steps and elements in order, each a new dictionary by column name."""

    thread: Thread
    steps: list[dict[str, Any]]
    elements: list[dict[str, Any]]
    votes: Mapping[str, Feedback]
    """The votes of the thread's owner, by the id of the step."""


async def get(database: Database, thread_id: str) -> WholeThread | None:
    """The thread, or None if it does not exist."""
    parts = _no_parts()
    for row in await database.fetch(_STATEMENT, {"thread_id": thread_id}):
        parts[row[0]].append(row)
    return _whole(parts) if parts[_THREAD] else None


async def get_many(database: Database, thread_ids: Sequence[str]) -> dict[str, WholeThread]:
    """The threads that exist, by id, in one statement."""
    chosen = _parts(lambda column: column.in_(thread_ids))
    found: defaultdict[str, _Parts] = defaultdict(_no_parts)
    for row in await database.query(lambda connection: _all(connection, chosen)):
        found[_id(row) if row[0] == _THREAD else _thread_id(row)][row[0]].append(row)
    return {thread_id: _whole(parts) for thread_id, parts in found.items() if parts[_THREAD]}


async def _all(connection: AsyncConnection, statement: CompoundSelect[Any]) -> Sequence[Any]:
    rows: Sequence[Any] = (await connection.execute(statement)).all()
    return rows


def _no_parts() -> _Parts:
    return [], [], [], []


def _whole(parts: _Parts) -> WholeThread:
    thread = Thread(**dict(zip(_THREAD_NAMES, _thread_values(parts[_THREAD][0]), strict=True)))
    # Sorted here, because the server would sort the texts along; they mostly come in order already.
    parts[_STEP].sort(key=_order)
    parts[_ELEMENT].sort(key=_order)
    votes = (Feedback(**dict(zip(_VOTE_NAMES, _vote_values(row), strict=True))) for row in parts[_VOTE])
    return WholeThread(
        thread,
        [dict(zip(STEP_COLUMNS, row[_STEP_PLACES])) for row in parts[_STEP]],  # noqa: B905  it takes time
        [dict(zip(_ELEMENT_COLUMNS, _element_values(row), strict=True)) for row in parts[_ELEMENT]],
        {vote.for_id: vote for vote in votes if vote.user_id == thread.user_id},
    )


def _order(row: Sequence[Any]) -> tuple[str, str]:
    return _moment(row) or "", _id(row)
