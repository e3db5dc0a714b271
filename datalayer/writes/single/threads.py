"""Threads: a thread as Chainlit gives it, and a deletion: one statement for all its rows, run while it is locked."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import CTE, Executable, delete, exists, func, select, union_all, update

from datalayer.cleaning import utc_now
from datalayer.database import Run
from datalayer.dialects import Dialect
from datalayer.dialects.lone import UNDECIDED
from datalayer.errors import Forbidden
from datalayer.history import thread_writes
from datalayer.ownership import Actor, actor_of, kind_of
from datalayer.records.writes import Removed, ThreadDeletion, ThreadWrite
from datalayer.schema.chat import Identifier, blob_deletions, elements, metadata, steps, threads
from datalayer.schema.review import thread_origins
from datalayer.schema.usage import llm_call_payloads, llm_calls
from datalayer.writes.single.parts import acting, given, is_foreign, queued_files, thread_of
from datalayer.writes.single.statement import SingleWrite


def store_thread(dialect: Dialect, write: ThreadWrite) -> SingleWrite:
    """Create the thread or change it. UNDECIDED if nothing was stored: then `apply` finds out why, in a transaction."""
    statement, values = thread_writes.upsert(dialect, write.thread, write.moment, actor=actor_of(write))
    return SingleWrite(statement, values, _stored, thread_id=write.thread.id)


def _stored(rows: Sequence[Any]) -> Any:
    return None if rows else UNDECIDED


async def remove_thread(run: Run, dialect: Dialect, write: ThreadDeletion) -> Removed | None:
    """Delete the thread with its contents and queue its files.

    The thread must be locked before: writes that wait for it then find no thread, and the statement sees the writes
    that were before it. None if there are copies of the thread: nothing was deleted then.

    Raises:
        Forbidden: the thread belongs to someone else.
    """
    actor = actor_of(write)
    values = {"new_id": write.thread_id, "new_queuedAt": utc_now(), **acting(actor)}
    rows = await run(_remove(type(dialect), kind_of(actor)), values)
    if not rows:
        return Removed(0)
    foreign, has_copies, keys = rows[0]
    if foreign:
        raise Forbidden("the thread belongs to someone else")
    return None if has_copies else Removed(1, tuple(keys or ()))


@cache
def _remove(dialect: type[Dialect], kind: Actor) -> Executable:
    """The statement. It gives whether the thread is foreign, whether there are copies of it, and the keys of its files.

    Each table is named, as in `history.deletion`, because an adopted database has no cascading foreign keys.
    """
    thread = thread_of(given("id", Identifier), kind)
    foreign = is_foreign(thread)
    has_copies = exists(select(thread_origins.c.threadId).where(thread_origins.c.originalId == given("id", Identifier)))
    chosen = select(thread.c.id).where(thread.c.is_own, ~has_copies).cte("chosen")
    thread_id = select(chosen.c.id).scalar_subquery()
    of_elements = elements.c.objectKey, elements.c.threadId
    inside = delete(elements).where(elements.c.threadId == thread_id).returning(*of_elements).cte("inside")
    of_steps = select(steps.c.id).where(steps.c.threadId == thread_id)
    loose = (
        delete(elements)
        .where(dialect.in_ids(elements.c.forId, of_steps), elements.c.threadId.is_(None))
        .returning(*of_elements)
        .cte("loose")
    )
    queued = queued_files(union_all(select(inside), select(loose)))
    of_thread = llm_calls.c.threadId == thread_id
    calls = select(llm_calls.c.id).where(of_thread)
    parts: list[CTE] = [
        queued,
        delete(llm_call_payloads).where(llm_call_payloads.c.callId.in_(calls)).cte("payloads"),
        # A provider's error message may quote a user's text.
        update(llm_calls).where(of_thread).values(threadId=None, stepId=None, errorMessage=None).cte("calls"),
    ]
    parts += [
        delete(table).where(table.c.threadId == thread_id).cte(f"of_{table.name}")
        for table in reversed(metadata.sorted_tables)
        if "threadId" in table.c and table not in (elements, blob_deletions, llm_calls)
    ]
    parts.append(delete(threads).where(threads.c.id == thread_id).cte("gone"))
    keys = select(func.array_agg(queued.c.objectKey)).scalar_subquery()
    return select(foreign, has_copies, keys).select_from(thread).add_cte(*parts)
