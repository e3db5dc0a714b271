"""Indexes texts by their tokens: a batch of marked texts, or a batch of texts from before the index existed.

Texts are read and split into tokens outside of a transaction. Then one transaction deletes the marks and stores the
tokens. If a mark no longer exists, another process has indexed the same or a newer text, and the text is skipped. So
several processes can index at the same time, and a process that dies before the transaction has changed nothing.

A search needs the texts of one user only, so it asks how many of them wait (`waiting_of`), and indexes those first
(`marked_of`), however many texts of others wait. Texts of this user from before the index existed get marks for that
(`mark_older`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Integer,
    Select,
    Subquery,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.database import Database
from datalayer.dialects import Dialect
from datalayer.history.removed_answers import ANSWER
from datalayer.history.search_tokens import MOST_CHARACTERS, owner_key, tokens
from datalayer.history.threads import hold
from datalayer.schema.chat import TITLE, Identifier, search_backlog, search_pending, search_texts, steps, threads
from datalayer.thought import THOUGHT, THOUGHT_TYPE, speech_of

MOST_AT_ONCE: Final = 10_000
"""A search waits until its user's texts are indexed if not more than these wait."""
OWN_BATCH: Final = 1_000
MOST_BYTES: Final = 8_000_000
"""A batch ends with the text that reaches this. A batch of the largest texts could otherwise fill the memory."""


_TABLES = {one.name: one for one in (steps, threads)}


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

    def follows(self, others: Iterable["Walk"]) -> bool:
        """Whether one of the others is the same walk, at this position or before."""
        return any(self.table == one.table and (one.position or "") <= (self.position or "") for one in others)


async def marked(connection: AsyncConnection, dialect: Dialect, limit: int) -> tuple[list[Found], bool]:
    """The texts of the oldest marks, and whether there may be more; a deleted text has only its mark.

    At most so many, and fewer if they reach `MOST_BYTES`.
    """
    mark = select(search_pending).order_by(search_pending.c.id).limit(limit).subquery()
    statement = _texts_of(mark, type(dialect))
    rows = (await connection.execute(statement.order_by(statement.selected_columns[0]))).all()
    return _found(rows), _is_cut(rows, limit)


async def marked_of(database: Database, user_id: str) -> list[Found]:
    """The texts of some marks of this user, at most `OWN_BATCH`, and fewer if they reach `MOST_BYTES`."""
    return _found(await database.fetch(_own_marks(type(database.dialect)), {"user_id": user_id}))


async def waiting_of(database: Database, user_id: str) -> tuple[int, tuple[Walk, ...]]:
    """How many marks this user has, counted to one more than `MOST_AT_ONCE`; and the walks that are not finished."""
    rows = await database.fetch(_own_waiting(), {"user_id": user_id})
    return rows[0][0], tuple(Walk(table, position) for _, table, position in rows if table is not None)


async def waiting(database: Database) -> int:
    """How many texts of all users are not indexed yet; of those from before the index, the ones not reached yet."""
    async with database.read() as connection:
        count = int((await connection.execute(select(func.count()).select_from(search_pending))).scalar_one())
        for row in (await connection.execute(select(search_backlog))).all():
            left = select(func.count()).select_from(_TABLES[row.table])
            if row.position is not None:
                left = left.where(_TABLES[row.table].c.id > row.position)
            count += int((await connection.execute(left)).scalar_one())
    return count


async def waiting_of_user(database: Database, user_id: str) -> int:
    """How many texts of this user are not indexed yet. Takes longer the more there are."""
    async with database.read() as connection:
        marks = select(func.count()).select_from(search_pending).where(search_pending.c.userId == user_id)
        count = int((await connection.execute(marks)).scalar_one())
        for row in (await connection.execute(select(search_backlog))).all():
            # Those with a mark already are counted there.
            older = _older_than_index(Walk(*row), user_id).subquery()
            has_mark = exists(
                select(search_pending.c.id).where(
                    search_pending.c.userId == user_id,
                    search_pending.c.threadId == older.c.threadId,
                    search_pending.c.stepId.is_not_distinct_from(older.c.stepId),
                )
            )
            count += int(
                (await connection.execute(select(func.count()).select_from(older).where(~has_mark))).scalar_one()
            )
    return count


async def mark_older(database: Database, user_id: str) -> bool:
    """Mark this user's texts from before the index, up to one more than `MOST_AT_ONCE`; True if those are all.

    The walk through all texts reaches them again later, and changes nothing then.
    """
    left = MOST_AT_ONCE + 1
    async with database.write() as connection:
        for row in (await connection.execute(select(search_backlog))).all():
            older = _older_than_index(Walk(*row), user_id).limit(left)
            names = ["threadId", "stepId", "userId"]
            made = await connection.execute(insert(search_pending).from_select(names, older))
            left -= made.rowcount
    return left > 0


def _older_than_index(walk: Walk, user_id: str) -> Select[Any]:
    """Thread, step and owner of this user's texts that the walk has not reached, and that no mark has led to either."""
    is_indexed = select(search_texts.c.id)
    if walk.table == steps.name:
        has_text = or_(steps.c.input != "", steps.c.output != "")
        columns = steps.c.threadId.label("threadId"), steps.c.id.label("stepId"), threads.c.userId
        found = select(*columns).join_from(steps, threads, threads.c.id == steps.c.threadId)
        found = found.where(has_text, ~exists(is_indexed.where(search_texts.c.stepId == steps.c.id)))
        at = steps.c.id
    else:
        columns = threads.c.id.label("threadId"), cast(null(), Identifier).label("stepId"), threads.c.userId
        found = select(*columns).where(threads.c.name != "")
        found = found.where(~exists(is_indexed.where(TITLE, search_texts.c.threadId == threads.c.id)))
        at = threads.c.id
    if walk.position is not None:
        found = found.where(at > walk.position)
    return found.where(threads.c.userId == user_id)


@cache
def _own_marks(dialect: type[Dialect]) -> Select[Any]:
    # In no order: the planner could walk through the marks of all users in that order to find those of one.
    mark = select(search_pending).where(_IS_OWN).limit(literal_column(str(OWN_BATCH), Integer)).subquery()
    return _texts_of(mark, dialect)


@cache
def _own_waiting() -> Select[Any]:
    own = select(search_pending.c.id).where(_IS_OWN).limit(literal_column(str(MOST_AT_ONCE + 1), Integer)).subquery()
    count = select(func.count().label("count")).select_from(own).subquery("own")
    return select(count.c.count, search_backlog.c.table, search_backlog.c.position).select_from(
        count.join(search_backlog, true(), isouter=True)
    )


_IS_OWN = search_pending.c.userId == bindparam("user_id", type_=Identifier, required=True)


def _texts_of(given: Subquery, dialect: type[Dialect]) -> Select[Any]:
    """The texts of rows with the columns id, threadId and stepId, by their ids, until they reach `MOST_BYTES`.

    The last column is the size of the texts up to this row.
    """
    lengths = (func.coalesce(dialect.byte_length(text), 0) for text in (threads.c.name, steps.c.input, steps.c.output))
    size = sum(lengths, literal_column("0", Integer))
    up_to_here = func.sum(size).over(order_by=given.c.id, rows=(None, 0))
    measured = _with_texts(select(given.c.id, given.c.threadId, given.c.stepId, size.label("size")), given)
    sized = measured.add_columns(up_to_here.label("total")).subquery("sized")
    columns = sized.c.id, sized.c.threadId, sized.c.stepId, threads.c.userId, _start(threads.c.name), *_texts(dialect)
    chosen = sized.c.total - sized.c.size < literal_column(str(MOST_BYTES), Integer)
    return _with_texts(select(*columns, sized.c.total), sized).where(chosen)


def _with_texts(statement: Select[Any], given: Subquery) -> Select[Any]:
    return (
        statement.select_from(given)
        .join(threads, threads.c.id == given.c.threadId, isouter=True)
        .join(steps, steps.c.id == given.c.stepId, isouter=True)
    )


def _is_cut(rows: Sequence[Any], limit: int) -> bool:
    """Whether there may be more texts than those of `_texts_of`."""
    return len(rows) == limit or bool(rows and rows[-1][-1] >= MOST_BYTES)


def _found(rows: Iterable[Any]) -> list[Found]:
    found: dict[tuple[str, str | None], Found] = {}
    for number, thread_id, step_id, owner_id, name, *texts, _ in rows:
        earlier = found.get((thread_id, step_id))
        given = _given((name,)) if step_id is None else _given_by_step(*texts)
        marks = (*earlier.marks, number) if earlier else (number,)
        found[thread_id, step_id] = Found(thread_id, step_id, owner_id, given, marks)
    return list(found.values())


async def store(connection: AsyncConnection, dialect: Dialect, words: Sequence[tuple[Found, str | None]]) -> int:
    """Take the marks away and store the words; gives how many texts were left to this process."""
    if dialect.beside_writers is not None:
        # Otherwise there is one writer.
        await hold(connection, {found.thread_id for found, _ in words})
    numbers = [number for found, _ in words for number in found.marks]
    removed = delete(search_pending).where(search_pending.c.id.in_(numbers)).returning(search_pending.c.id)
    ours = set((await connection.execute(removed)).scalars())
    left = [(found, text) for found, text in words if not ours.isdisjoint(found.marks)]
    empty = [found for found, text in left if text is None]
    if nothing := [found.step_id for found in empty if found.step_id is not None]:
        await connection.execute(delete(search_texts).where(search_texts.c.stepId.in_(nothing)))
    if nothing := [found.thread_id for found in empty if found.step_id is None]:
        await connection.execute(delete(search_texts).where(TITLE, search_texts.c.threadId.in_(nothing)))
    rows = _rows(left)
    if of_steps := [row for row in rows if row[1] is not None]:
        given = _insert(dialect, of_steps)
        changed = {"words": given.excluded.words}
        await connection.execute(given.on_conflict_do_update(index_elements=[search_texts.c.stepId], set_=changed))
    if titles := [row for row in rows if row[1] is None]:
        given = _insert(dialect, titles)
        changed = {"words": given.excluded.words}
        await connection.execute(
            given.on_conflict_do_update(index_elements=[search_texts.c.threadId], index_where=TITLE, set_=changed)
        )
    if rows:
        await dialect.sort_words(connection)
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
    table = _TABLES[walk.table]
    if table is steps:
        # A step without a thread has no owner who could find it.
        next_ = select(steps.c.id, steps.c.threadId, steps.c.id.label("stepId"))
        next_ = next_.join_from(steps, threads, threads.c.id == steps.c.threadId)
    else:
        next_ = select(threads.c.id, threads.c.id.label("threadId"), cast(null(), Identifier).label("stepId"))
    if walk.position is not None:
        next_ = next_.where(table.c.id > walk.position)
    statement = _texts_of(next_.order_by(table.c.id).limit(limit).subquery(), type(dialect))
    rows = (await connection.execute(statement.order_by(statement.selected_columns[0]))).all()
    found = [replace(one, marks=()) for one in _found(rows)]
    return walk, found, Walk(walk.table, rows[-1][0]) if _is_cut(rows, limit) else None


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
        await connection.execute(_insert(dialect, rows).on_conflict_do_nothing())
        await dialect.sort_words(connection)
    return True


def _start(column: Any) -> Any:
    return func.substr(column, 1, MOST_CHARACTERS)


def _texts(dialect: type[Dialect]) -> tuple[Any, ...]:
    """The texts of a step, and its type: none for the thought of an answer, because nobody said it."""
    is_thought = and_(steps.c.type == THOUGHT_TYPE, dialect.text_in(steps.c.metadata, "status") == THOUGHT)
    return _start(steps.c.input), case((is_thought, null()), else_=_start(steps.c.output)), steps.c.type


def _given(texts: Iterable[Any]) -> tuple[str, ...]:
    # Another program may have stored bytes in a text column of SQLite.
    return tuple(text for text in texts if text and isinstance(text, str))


def _given_by_step(given: Any, output: Any, kind: str | None) -> tuple[str, ...]:
    """The texts of a step, without thought that was stored with an answer."""
    is_answer = kind == ANSWER and isinstance(output, str)
    return _given((given, speech_of(output) if is_answer else output))


def _rows(words: Iterable[tuple[Found, str | None]]) -> list[tuple[str, str | None, str]]:
    return [(found.thread_id, found.step_id, text) for found, text in words if text is not None]


def _insert(dialect: Dialect, rows: Sequence[tuple[str, str | None, str]]) -> Any:
    """One statement for all rows, whose text does not depend on their number."""
    columns = search_texts.c.threadId, search_texts.c.stepId, search_texts.c.words
    return dialect.insert(search_texts).from_select(list(columns), dialect.rows_of(columns, rows))
