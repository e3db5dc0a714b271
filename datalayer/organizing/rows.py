"""SQL of the order among a user's threads."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cache

from sqlalchemy import Executable, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.database import Database
from datalayer.errors import NotFound
from datalayer.history.copying import NOT_COPIED, copy_thread
from datalayer.ownership import Actor, demand_write, kind_of, may_write, writable_by
from datalayer.records.chat import Folder
from datalayer.schema.chat import Identifier, folder_counts, threads
from datalayer.schema.review import thread_origins

MOST_ROWS = 50
"""The counts of a user's tags may be in this many rows, and two for each tag of a thread, until they are added up."""
FORKED_FROM = "forked_from"
"""The key of a fork's metadata with the ids of the thread and the message that it goes on from."""


async def folders(database: Database, user_id: str, actor: Actor) -> tuple[list[Folder], bool]:
    """The tags of the user's threads with the number of threads, in alphabetical order, and whether their counts are
    in so many rows that `add_up` is due."""
    found = await database.fetch(_folders(kind_of(actor)), {"user_id": user_id, "actor": actor})
    sorted_ = sorted((Folder(tag, int(count)) for tag, count, _ in found if count > 0), key=_in_alphabet)
    is_due = sum(rows for *_, rows in found) > MOST_ROWS + 2 * len(sorted_)
    # The name of a folder that has ended does not stay.
    return sorted_, is_due or len(sorted_) < len(found)


def _in_alphabet(one: Folder) -> tuple[str, str]:
    return one.tag.casefold(), one.tag


@cache
def _folders(actor: Actor) -> Executable:
    counts = folder_counts.c
    of_user = counts.userId == bindparam("user_id", type_=Identifier, required=True)
    found = select(counts.tag, func.sum(counts.threads), func.count()).where(
        of_user, writable_by(actor, counts.userIdentifier)
    )
    return found.group_by(counts.tag)


async def add_up(connection: AsyncConnection, user_id: str) -> None:
    """Store the counts of the user's tags in one row for each.

    Only rows that this transaction has deleted are added up, so the sums stay right whoever else does it at the time.
    """
    counts = folder_counts.c
    taken = delete(folder_counts).where(counts.userId == user_id)
    taken_rows = await connection.execute(taken.returning(counts.userIdentifier, counts.tag, counts.threads))
    sums: Counter[tuple[str | None, str]] = Counter()
    for name, tag_, threads_ in taken_rows:
        sums[name, tag_] += threads_
    rows = [
        {"userId": user_id, "userIdentifier": name, "tag": tag_, "threads": count}
        for (name, tag_), count in sorted(sums.items(), key=str)
        if count
    ]
    if rows:
        await connection.execute(insert(folder_counts), rows)


async def lock_own(connection: AsyncConnection, thread_ids: Sequence[str], actor: Actor) -> dict[str, Sequence[str]]:
    """The tags of those of the threads that the actor may change, by id, locked until the transaction ends."""
    columns = threads.c.id, threads.c.userIdentifier, threads.c.tags
    found = select(*columns).where(threads.c.id.in_(thread_ids)).order_by(threads.c.id).with_for_update()
    rows = (await connection.execute(found)).all()
    return {thread_id: tags or () for thread_id, owner, tags in rows if may_write(actor, owner)}


async def tag(connection: AsyncConnection, tags: Mapping[str, Sequence[str]]) -> None:
    """Give threads these tags."""
    same: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for thread_id, of_thread in tags.items():
        same[tuple(of_thread)].append(thread_id)
    for chosen, thread_ids in same.items():
        await connection.execute(update(threads).where(threads.c.id.in_(thread_ids)).values(tags=list(chosen) or None))


async def fork(
    connection: AsyncConnection, thread_id: str, step_id: str, actor: Actor, title_ending: str, *, fork_id: str
) -> str:
    """Copy the thread as far as this step for its owner, as a thread with the given id.

    Raises:
        NotFound: there is no such thread, or no such step in it.
        Forbidden: the thread belongs to someone else.
    """
    found = select(threads.c.userId, threads.c.userIdentifier, threads.c.metadata).where(threads.c.id == thread_id)
    original = (await connection.execute(found)).first()
    if original is None:
        raise NotFound(f"the thread {thread_id} does not exist")
    demand_write(actor, original.userIdentifier, "the thread")
    owner = original.userId, original.userIdentifier
    copy = await copy_thread(connection, thread_id, owner, title_ending=title_ending, until=step_id, copy_id=fork_id)
    about = {
        **{key: value for key, value in (original.metadata or {}).items() if key not in NOT_COPIED},
        FORKED_FROM: {"thread": thread_id, "step": step_id},
    }
    await connection.execute(update(threads).where(threads.c.id == copy.thread_id).values(metadata=about))
    # What a reviewer copied of another user's is bound to what was copied, also in a fork, which outlives the copy.
    copied = thread_origins.c.originalId, thread_origins.c.reviewerId
    origin = select(*copied).where(thread_origins.c.threadId == thread_id)
    if (reviewed := (await connection.execute(origin)).first()) is not None:
        bound = {"originalId": reviewed.originalId, "reviewerId": reviewed.reviewerId}
        values = {"threadId": copy.thread_id, "createdAt": copy.created_at, **bound}
        await connection.execute(insert(thread_origins).values(values))
    return copy.thread_id
