"""Indexes texts by their tokens: a batch of marked texts, or a batch of texts from before the index existed.

Texts are read and split into tokens outside of a transaction. Then one transaction deletes the marks and stores the
tokens. If a mark no longer exists, another process has indexed the same or a newer text, and the text is skipped. So
several processes can index at the same time, and a process that dies before the transaction has changed nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, case, delete, func, null, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.history.search_tokens import MOST_CHARACTERS, owner_key, tokens
from datalayer.schema.chat import TITLE, search_backlog, search_pending, search_texts, steps, threads
from datalayer.thought import THOUGHT, THOUGHT_TYPE


@dataclass(frozen=True, slots=True)
class Found:
    """The texts of a step or (without a step) the title of a thread, and the marks they are read for."""

    thread_id: str
    step_id: str | None
    owner_id: str | None
    texts: tuple[str, ...]
    marks: tuple[int, ...] = ()

    def words(self) -> str | None:
        """The tokens in the form of the index, or None if there are none or the thread has no owner."""
        if self.owner_id is None:
            return None
        key = owner_key(self.owner_id)
        return " ".join([key + token for token in tokens("\n".join(self.texts))]) or None


@dataclass(frozen=True, slots=True)
class Walk:
    """The position in one table up to which texts are indexed: an id, or None at the start."""

    table: str
    position: str | None


async def marked(connection: AsyncConnection, dialect: Dialect, limit: int) -> list[Found]:
    """The texts of the oldest marks, at most this many; a deleted text has only its mark."""
    mark = select(search_pending).order_by(search_pending.c.id).limit(limit).subquery()
    statement = (
        select(mark.c.id, mark.c.threadId, mark.c.stepId, threads.c.userId, _start(threads.c.name), *_texts(dialect))
        .select_from(mark)
        .join(threads, threads.c.id == mark.c.threadId, isouter=True)
        .join(steps, steps.c.id == mark.c.stepId, isouter=True)
        .order_by(mark.c.id)
    )
    found: dict[tuple[str, str | None], Found] = {}
    for number, thread_id, step_id, owner_id, name, *texts in await connection.execute(statement):
        earlier = found.get((thread_id, step_id))
        given = _given((name,) if step_id is None else texts)
        marks = (*earlier.marks, number) if earlier else (number,)
        found[thread_id, step_id] = Found(thread_id, step_id, owner_id, given, marks)
    return list(found.values())


async def store(connection: AsyncConnection, dialect: Dialect, words: Sequence[tuple[Found, str | None]]) -> int:
    """Take the marks away and store the words; gives how many texts were left to this process."""
    numbers = [number for found, _ in words for number in found.marks]
    removed = delete(search_pending).where(search_pending.c.id.in_(numbers)).returning(search_pending.c.id)
    ours = set((await connection.execute(removed)).scalars())
    left = [(found, text) for found, text in words if not ours.isdisjoint(found.marks)]
    empty = [found for found, text in left if text is None]
    if nothing := [found.step_id for found in empty if found.step_id is not None]:
        await connection.execute(delete(search_texts).where(search_texts.c.stepId.in_(nothing)))
    if nothing := [found.thread_id for found in empty if found.step_id is None]:
        await connection.execute(delete(search_texts).where(TITLE, search_texts.c.threadId.in_(nothing)))
    insert = dialect.insert(search_texts)
    changed = {"words": insert.excluded.words}
    rows = _rows(left)
    if of_steps := [row for row in rows if row["stepId"] is not None]:
        statement = insert.on_conflict_do_update(index_elements=[search_texts.c.stepId], set_=changed)
        await connection.execute(statement, of_steps)
    if titles := [row for row in rows if row["stepId"] is None]:
        statement = insert.on_conflict_do_update(
            index_elements=[search_texts.c.threadId], index_where=TITLE, set_=changed
        )
        await connection.execute(statement, titles)
    return len(left)


async def dismiss(connection: AsyncConnection, marks: Iterable[int]) -> None:
    """Delete marks whose texts cannot be indexed."""
    await connection.execute(delete(search_pending).where(search_pending.c.id.in_(list(marks))))


async def backlog(
    connection: AsyncConnection, dialect: Dialect, limit: int
) -> tuple[Walk, list[Found], Walk | None] | None:
    """The position in the texts from before the index, the next texts, and the position after them (None at the end).

    None if all texts are indexed.
    """
    stands = select(search_backlog.c.table, search_backlog.c.position).order_by(search_backlog.c.table)
    row = (await connection.execute(stands)).first()
    if row is None:
        return None
    walk = Walk(row.table, row.position)
    table = {one.name: one for one in (steps, threads)}[walk.table]
    texts = _texts(dialect) if table is steps else (_start(threads.c.name),)
    thread_id = steps.c.threadId if table is steps else threads.c.id
    statement = select(table.c.id, thread_id, threads.c.userId, *texts).order_by(table.c.id).limit(limit)
    if table is steps:
        # A step without a thread has no owner who could find it.
        statement = statement.join_from(steps, threads, threads.c.id == steps.c.threadId)
    if walk.position is not None:
        statement = statement.where(table.c.id > walk.position)
    rows: Sequence[Any] = (await connection.execute(statement)).all()
    found = [Found(row[1], row[0] if table is steps else None, row[2], _given(row[3:])) for row in rows]
    return walk, found, Walk(walk.table, rows[-1][0]) if len(rows) == limit else None


async def store_backlog(
    connection: AsyncConnection,
    dialect: Dialect,
    walk: Walk,
    words: Sequence[tuple[Found, str | None]],
    after: Walk | None,
) -> bool:
    """Store the words and how far the walk has come; False where another process has walked here."""
    here = and_(search_backlog.c.table == walk.table, search_backlog.c.position.is_not_distinct_from(walk.position))
    if after is None:
        moved = await connection.execute(delete(search_backlog).where(here))
    else:
        moved = await connection.execute(update(search_backlog).where(here).values(position=after.position))
    if not moved.rowcount:
        return False
    # Tokens that exist already were stored for a mark, from the same or a newer text.
    if rows := _rows(words):
        await connection.execute(dialect.insert(search_texts).on_conflict_do_nothing(), rows)
    return True


def _start(column: Any) -> Any:
    return func.substr(column, 1, MOST_CHARACTERS)


def _texts(dialect: Dialect) -> tuple[Any, ...]:
    """The texts of a step: none for the thought of an answer, because nobody said it."""
    is_thought = and_(steps.c.type == THOUGHT_TYPE, dialect.text_in(steps.c.metadata, "status") == THOUGHT)
    return _start(steps.c.input), case((is_thought, null()), else_=_start(steps.c.output))


def _given(texts: Iterable[Any]) -> tuple[str, ...]:
    # Another program may have stored bytes in a text column of SQLite.
    return tuple(text for text in texts if text and isinstance(text, str))


def _rows(words: Iterable[tuple[Found, str | None]]) -> list[dict[str, Any]]:
    return [
        {"threadId": found.thread_id, "stepId": found.step_id, "words": text}
        for found, text in words
        if text is not None
    ]
