"""Threads: one upsert, pages by last activity, one thread whole, and its end."""

import base64
import binascii
import json
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer import elements as element_table
from datalayer import steps as step_table
from datalayer.dialects import Dialect
from datalayer.errors import InvalidRecord
from datalayer.ownership import SYSTEM, Actor, readable_by
from datalayer.records import Page, Thread
from datalayer.removal import remove_threads
from datalayer.rows import columns, record_of
from datalayer.schema import feedbacks, threads, users
from datalayer.search import matches

LARGEST_PAGE = 100
_COLUMNS = columns(Thread, threads)


async def touch(
    connection: AsyncConnection, dialect: Dialect, thread_id: str, moment: str, user_identifier: str | None
) -> None:
    """Make the thread where it is not there yet, and note that something happened in it at this moment."""
    owner = select(users.c.id).where(users.c.identifier == user_identifier).scalar_subquery()
    statement = dialect.insert(threads).values(
        id=thread_id,
        createdAt=moment,
        updatedAt=moment,
        userId=owner if user_identifier is not None else None,
        userIdentifier=user_identifier,
    )
    older = or_(threads.c.updatedAt.is_(None), threads.c.updatedAt < statement.excluded.updatedAt)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[threads.c.id], set_={"updatedAt": statement.excluded.updatedAt}, where=older
        )
    )


async def replace_name(connection: AsyncConnection, thread_id: str, expected: str | None, name: str) -> bool:
    """Rename the thread if it still has the expected name; says whether it did."""
    same = threads.c.name.is_(None) if expected is None else threads.c.name == expected
    statement = update(threads).where(threads.c.id == thread_id, same).values(name=name)
    return bool((await connection.execute(statement)).rowcount)


async def owner(connection: AsyncConnection, thread_id: str) -> tuple[bool, str | None]:
    """Whether the thread is there, and the identifier of its owner."""
    found = (await connection.execute(select(threads.c.userIdentifier).where(threads.c.id == thread_id))).first()
    return (True, found[0]) if found else (False, None)


async def get(connection: AsyncConnection, thread_id: str, *, contents: bool = True) -> Thread | None:
    """The thread, and unless its contents are left out, its steps (in order, with votes) and elements."""
    row = (await connection.execute(select(*_COLUMNS).where(threads.c.id == thread_id))).mappings().first()
    if row is None:
        return None
    thread = _thread(row)
    if not contents:
        return thread
    found_steps = await step_table.of_thread(connection, thread_id, thread.user_id)
    found_elements = await element_table.of_thread(connection, thread_id)
    return _thread(row, steps=tuple(found_steps), elements=tuple(found_elements))


async def page(
    connection: AsyncConnection,
    dialect: Dialect,
    user_id: str,
    *,
    actor: Actor = SYSTEM,
    first: int,
    after: str | None = None,
    vote: int | None = None,
    words: str | None = None,
) -> Page:
    """The user's threads, newest activity first, without their steps.

    Args:
        first: how many, at least 1; more than 100 are never given at once.
        after: a cursor from `cursor_of`; the page begins behind it, whether its thread is still there or not.
        vote: only threads with a step that has this thumb (1 or 0).
        words: only threads whose name or texts hold these words.

    Raises:
        InvalidRecord: `first` is less than 1, or the cursor is none of ours.
    """
    if first < 1:
        raise InvalidRecord("a page has at least one thread")
    size = min(first, LARGEST_PAGE)
    conditions: list[ColumnElement[bool]] = [threads.c.userId == user_id, readable_by(actor)]
    if after is not None:
        conditions.append(_behind(after))
    if vote is not None:
        conditions.append(exists().where(feedbacks.c.threadId == threads.c.id, feedbacks.c.value == vote))
    if words:
        conditions.append(matches(dialect, words))
    # One more than asked for tells whether there is a next page.
    statement = (
        select(*_COLUMNS).where(*conditions).order_by(threads.c.updatedAt.desc(), threads.c.id.desc()).limit(size + 1)
    )
    rows = (await connection.execute(statement)).mappings().all()
    return Page(tuple(_thread(row) for row in rows[:size]), has_next=len(rows) > size)


def cursor_of(thread: Thread) -> str:
    """Where a page ended: opaque to others, and good even when the thread is gone."""
    place = json.dumps([thread.updated_at or "", thread.id])
    return base64.urlsafe_b64encode(place.encode()).decode()


async def delete_thread(connection: AsyncConnection, thread_id: str) -> list[str]:
    """Delete the thread and all that is in it; gives the object keys of the files that are now without a row."""
    return list((await remove_threads(connection, threads.c.id == thread_id)).object_keys)


def _behind(cursor: str) -> ColumnElement[bool]:
    try:
        updated_at, thread_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (ValueError, binascii.Error, TypeError):
        raise InvalidRecord("the cursor is none that a page gave") from None
    if not isinstance(updated_at, str) or not isinstance(thread_id, str):
        raise InvalidRecord("the cursor is none that a page gave")
    same_moment = and_(threads.c.updatedAt == updated_at, threads.c.id < thread_id)
    return or_(threads.c.updatedAt < updated_at, same_moment)


def _thread(row: RowMapping, **contents: Any) -> Thread:
    return replace(record_of(Thread, threads, row), **contents)
