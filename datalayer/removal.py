"""The end of threads and of users: every row that hangs on them, counted table by table, and the files to remove.

Calls to models outlive both, because what they cost was spent; what tells of whom or of what they were goes.

Said for each table, because an adopted database has no foreign keys that would do it, and because what a foreign key
deletes is counted by nobody. The files are queued in the same transaction, and are deleted after it.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Table, and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.blob_deletions import queue_files
from datalayer.schema import (
    blob_deletions,
    credentials,
    elements,
    feedback_changes,
    feedbacks,
    metadata,
    steps,
    threads,
    users,
)
from datalayer.usage_schema import llm_call_payloads, llm_calls, usage_limits, usage_reservations


@dataclass(frozen=True, slots=True)
class Removal:
    """How many rows of which table are gone, the threads among them, and the object keys of files without a row."""

    rows: dict[str, int]
    thread_ids: tuple[str, ...] = ()
    object_keys: tuple[str, ...] = ()


async def remove_threads(connection: AsyncConnection, chosen: ColumnElement[bool]) -> Removal:
    """Delete the threads that the condition holds for, with all that is in them."""
    # Locked, so that what another replica adds meanwhile waits for the end and finds no thread to be added to.
    found = (await connection.execute(select(threads.c.id).where(chosen).with_for_update())).scalars().all()
    ids = select(threads.c.id).where(chosen)
    of_steps = elements.c.forId.in_(select(steps.c.id).where(steps.c.threadId.in_(ids)))
    in_threads = or_(elements.c.threadId.in_(ids), and_(elements.c.threadId.is_(None), of_steps))
    keys = await queue_files(connection, in_threads)
    rows = {elements.name: await _delete(connection, elements, in_threads)}
    rows |= await _let_go_of_calls(connection, llm_calls.c.threadId.in_(ids), {"threadId": None, "stepId": None})
    for table in reversed(metadata.sorted_tables):
        if "threadId" in table.c and table not in (elements, blob_deletions, llm_calls):
            rows[table.name] = await _delete(connection, table, table.c.threadId.in_(ids))
    rows[threads.name] = await _delete(connection, threads, chosen)
    return Removal(rows, tuple(found), tuple(keys))


async def remove_user(connection: AsyncConnection, identifier: str) -> tuple[str | None, Removal]:
    """Delete the user, their votes wherever they were cast, and their threads with all that is in them.

    Threads under the identifier go even where there is no such user any more: a page that was still open may have
    begun one since. Gives the user's id, if there was a user.
    """
    # Locked, so that a call of theirs that another replica stores meanwhile waits, and then finds no user.
    found = select(users.c.id).where(users.c.identifier == identifier).with_for_update()
    user_id = (await connection.execute(found)).scalar()
    theirs = threads.c.userIdentifier == identifier
    if user_id is None:
        return None, await remove_threads(connection, theirs)
    removed = await remove_threads(connection, or_(theirs, threads.c.userId == user_id))
    rows = dict(removed.rows)
    of_calls = await _let_go_of_calls(connection, llm_calls.c.userId == user_id, {"userId": None})
    rows |= {name: rows.get(name, 0) + count for name, count in of_calls.items()}
    rows[usage_limits.name] = await _delete(connection, usage_limits, usage_limits.c.subjectId == user_id)
    rows[usage_reservations.name] = await _delete(
        connection, usage_reservations, usage_reservations.c.userId == user_id
    )
    for table in (feedback_changes, feedbacks, credentials):
        rows[table.name] = rows.get(table.name, 0) + await _delete(connection, table, table.c.userId == user_id)
    rows[users.name] = await _delete(connection, users, users.c.id == user_id)
    return user_id, Removal(rows, removed.thread_ids, removed.object_keys)


async def _let_go_of_calls(
    connection: AsyncConnection, chosen: ColumnElement[bool], ids: dict[str, None]
) -> dict[str, int]:
    """Take the ids out of the calls, and delete what was said in them; gives how many rows of which table are gone."""
    said = llm_call_payloads.c.callId.in_(select(llm_calls.c.id).where(chosen))
    count = await _delete(connection, llm_call_payloads, said)
    # A provider's message may quote what somebody wrote.
    await connection.execute(update(llm_calls).where(chosen).values(errorMessage=None, **ids))
    return {llm_call_payloads.name: count}


async def _delete(connection: AsyncConnection, table: Table, condition: ColumnElement[bool]) -> int:
    return int((await connection.execute(delete(table).where(condition))).rowcount)
