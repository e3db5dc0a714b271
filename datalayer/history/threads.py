"""Threads: creation, pages by last activity, names, owners, deletion."""

from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Executable,
    Integer,
    Select,
    Text,
    bindparam,
    case,
    exists,
    false,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer import cursors
from datalayer.cleaning import clean_text, known_id
from datalayer.database import Database
from datalayer.dialects import Dialect
from datalayer.errors import InvalidRecord
from datalayer.history import search
from datalayer.history.deletion import remove_threads
from datalayer.ownership import SYSTEM, Actor, kind_of, readable_by
from datalayer.records.chat import Page, Thread, ThreadChoice
from datalayer.schema.chat import HAS_TAGS, IS_ARCHIVED, IS_PINNED, IS_TEMPORARY, VOTED, Identifier, threads, users
from datalayer.schema.rows import columns

LARGEST_PAGE = 100
# In the order of the record's fields, so that a row is the arguments of a record.
_COLUMNS = columns(Thread, threads)

Condition = Callable[[type[Dialect]], ColumnElement[bool]]


async def touch(
    connection: AsyncConnection, dialect: Dialect, thread_id: str, moment: str, user_identifier: str | None
) -> bool:
    """Create the thread if it does not exist, and set its last activity to this moment.

    False if nothing was to change, or the thread was deleted.
    """
    owner = select(users.c.id).where(users.c.identifier == user_identifier).scalar_subquery()
    statement = dialect.insert(threads).values(
        id=thread_id,
        createdAt=moment,
        updatedAt=moment,
        userId=owner if user_identifier is not None else None,
        userIdentifier=user_identifier,
    )
    older = or_(threads.c.updatedAt.is_(None), threads.c.updatedAt < statement.excluded.updatedAt)
    touched = await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[threads.c.id], set_={"updatedAt": statement.excluded.updatedAt}, where=older
        )
    )
    return bool(touched.rowcount)


async def replace_name(connection: AsyncConnection, thread_id: str, expected: str | None, name: str) -> bool:
    """Rename the thread if it still has the expected name; True if it has the new name then.

    It also has it if the answer to this write was lost, and it is applied again.
    """
    same = threads.c.name.is_(None) if expected is None else threads.c.name == expected
    statement = update(threads).where(threads.c.id == thread_id, or_(same, threads.c.name == name)).values(name=name)
    return bool((await connection.execute(statement)).rowcount)


async def mark(
    connection: AsyncConnection,
    thread_ids: Collection[str],
    now: str,
    *,
    is_pinned: bool | None,
    is_archived: bool | None,
) -> None:
    """Pin or archive threads, or undo it; None leaves it as it is. What is so already stays, with its time."""
    moments: dict[str, str | None] = {}
    if is_pinned is not None:
        moments |= {"pinnedAt": now if is_pinned else None} | ({"archivedAt": None} if is_pinned else {})
    if is_archived is not None:
        moments |= {"archivedAt": now if is_archived else None} | ({"pinnedAt": None} if is_archived else {})
    if not moments:
        return
    values: dict[str, Any] = {
        name: None if moment is None else case((threads.c[name].is_(None), moment), else_=threads.c[name])
        for name, moment in moments.items()
    }
    await connection.execute(update(threads).where(threads.c.id.in_(thread_ids)).values(values))


async def owner(connection: AsyncConnection, thread_id: str) -> tuple[bool, str | None]:
    """Whether the thread exists, and the identifier of its owner."""
    found = (await connection.execute(select(threads.c.userIdentifier).where(threads.c.id == thread_id))).first()
    return (True, found[0]) if found else (False, None)


async def lock(connection: AsyncConnection, thread_id: str) -> None:
    """Let writes to the thread, if it exists, wait until the transaction ends."""
    await connection.execute(select(threads.c.id).where(threads.c.id == thread_id).with_for_update())


async def hold(connection: AsyncConnection, thread_ids: Collection[str]) -> list[str]:
    """Let deletions of these threads wait until the transaction ends; gives those that exist.

    A transaction that takes marks of threads away and stores rows of these threads holds them first, because a deletion
    has the thread before it comes to the marks.
    """
    held = select(threads.c.id).where(threads.c.id.in_(thread_ids)).order_by(threads.c.id)
    return list((await connection.execute(held.with_for_update(read=True, key_share=True))).scalars())


async def get(connection: AsyncConnection, thread_id: str) -> Thread | None:
    """The thread without its contents."""
    row = (await connection.execute(select(*_COLUMNS).where(threads.c.id == thread_id))).first()
    return Thread(*row) if row else None


async def find(database: Database, thread_id: str) -> Thread | None:
    """As `get`, in one round trip."""
    rows = await database.fetch(_by_id(), {"thread_id": thread_id})
    return Thread(*rows[0]) if rows else None


async def find_owner(database: Database, thread_id: str) -> tuple[str | None, dict[str, Any] | None] | None:
    """What tells who may read the thread: its owner's name and its metadata, or None if it does not exist."""
    rows = await database.fetch(_owner_by_id(), {"thread_id": thread_id})
    return (rows[0][0], rows[0][1]) if rows else None


@cache
def _by_id() -> Executable:
    return _of_id(select(*_COLUMNS))


@cache
def _owner_by_id() -> Executable:
    return _of_id(select(threads.c.userIdentifier, threads.c.metadata))


def _of_id(every: Select[Any]) -> Executable:
    return every.where(threads.c.id == bindparam("thread_id", type_=Identifier, required=True))


async def page(
    database: Database,
    user_id: str,
    *,
    actor: Actor = SYSTEM,
    first: int,
    after: str | None = None,
    vote: int | None = None,
    which: ThreadChoice = ThreadChoice(is_archived=None, is_temporary=None),  # noqa: B008  frozen
) -> Page:
    """The user's threads without their contents, latest activity first.

    Args:
        first: the number of threads, at least 1; at most 100 are given.
        after: a cursor from `cursor_of`; the page begins after it, even if its thread was deleted.
        vote: only threads in which the user gave this thumb (1 or 0).
        which: which threads. Its words are understood as in `search_tokens`.

    Raises:
        InvalidRecord: `first` is less than 1, or the cursor is not valid.
    """
    if first < 1:
        raise InvalidRecord("`first` must be at least 1")
    size = min(first, LARGEST_PAGE)
    moment, last = (None, None) if after is None else cursors.decode(after, "threads", clean_text, known_id)
    # One more than requested shows whether there is a next page.
    values = {"user_id": user_id, "actor": actor, "moment": moment, "last": last, "most": size + 1}
    shape: dict[str, Any] = {"behind": after is not None, "vote": vote, "tagged": which.tag is not None}
    marks = (which.is_pinned, which.is_archived, which.is_temporary)
    if which.tag is not None:
        values["tag"] = clean_text(which.tag)
    words = which.words
    dialect, kind = type(database.dialect), kind_of(actor)
    conditions: list[Condition | None] = [None]
    searched = False
    if words and not words.isspace():
        searched = dialect.skips_needless_reads
        values["wanted"] = search.wanted(dialect, user_id, words)
        if not values["wanted"]:
            # An empty query finds nothing.
            conditions = []
        elif not searched:
            conditions = [search.by_rare_words, search.by_frequent_words]
    rows: Sequence[Any] = []
    for condition in conditions:
        statement = _listed(dialect, kind, marks, **shape, searched=searched, condition=condition)
        rows = await database.fetch(statement, values)
        if rows:
            break
    return Page(tuple(Thread(*row) for row in rows[:size]), has_next=len(rows) > size)


def cursor_of(thread: Thread) -> str:
    """The cursor of the page that ends with this thread; it stays valid if the thread is deleted."""
    return cursors.encode("threads", thread.updated_at or "", thread.id)


async def delete_thread(connection: AsyncConnection, thread_id: str) -> list[str]:
    """Delete the thread with its contents; gives the object keys of files that have no row any more."""
    return list((await remove_threads(connection, threads.c.id == thread_id)).object_keys)


@cache
def _listed(
    dialect: type[Dialect],
    actor: Actor,
    marks: tuple[bool | None, ...],
    *,
    behind: bool,
    vote: int | None,
    tagged: bool,
    searched: bool,
    condition: Condition | None = None,
) -> Executable:
    """The statement of a page of threads; its parameters are the values of `page`.

    Args:
        condition: one more. It finds words where `searched` does not.
    """
    user_id = bindparam("user_id", type_=Identifier, required=True)
    of_user = threads.c.userId == user_id
    conditions = [readable_by(actor)]
    conditions += [
        is_marked if wanted else ~is_marked
        for is_marked, wanted in zip((IS_PINNED, IS_ARCHIVED, IS_TEMPORARY), marks, strict=True)
        if wanted is not None
    ]
    if tagged:
        each = dialect.each(threads.c.tags)
        tag = bindparam("tag", type_=Text, required=True)
        with_tag = exists(select(literal_column("1")).select_from(each).where(each.c.value == tag))
        # The first condition says nothing new, but the index of tagged threads is for it.
        conditions += [HAS_TAGS, with_tag]
    if behind:
        place = tuple_(
            bindparam("moment", type_=Text, required=True), bindparam("last", type_=Identifier, required=True)
        )
        conditions.append(tuple_(threads.c.updatedAt, threads.c.id) < place)
    if vote is not None:
        conditions.append(VOTED.get(vote, false()))
    if condition is not None:
        conditions.append(condition(dialect))
    most: BindParameter[int] = bindparam("most", type_=Integer, required=True)
    every = select(*_COLUMNS).where(of_user, *conditions)
    # No engine looks into a CASE. Each would read all of the user's threads in an index to look up a few of them.
    by_id = select(*_COLUMNS).where(case((of_user, true()), else_=false()), *conditions)
    if searched:
        return search.with_words(dialect, every, by_id, most)
    return search.latest(by_id if condition is search.by_rare_words else every, threads, most)
