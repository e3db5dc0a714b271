"""Pins and flags on threads. Both exempt a thread from retention."""

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_text, utc_now
from datalayer.errors import InvalidRecord, NotFound
from datalayer.history import threads
from datalayer.history.users import get as get_user
from datalayer.ownership import acting_user, may_write
from datalayer.records.review import MarkKind, ThreadMark
from datalayer.review import access
from datalayer.review.base import ReviewStore
from datalayer.schema.chat import users
from datalayer.schema.review import thread_marks
from datalayer.writes.repeats import removal


class ThreadMarks(ReviewStore):
    """Methods of pins and flags."""

    async def mark_thread(self, thread_id: str, kind: MarkKind, *, note: str | None = None) -> ThreadMark:
        """Pin or flag a thread, which exempts it from retention. Reviewers may do both; the owner may pin.

        Args:
            thread_id: the thread's id.
            kind: "pin" or "flag". A second mark of the same kind replaces the first.
            note: shown with the mark.

        Raises:
            NotFound: there is no such thread.
            Forbidden: the acting user is neither a reviewer nor, for a pin, the owner.
            InvalidRecord: the kind is neither "pin" nor "flag".
        """
        known, cleaned_note = clean_id(thread_id, "thread id"), clean_text(note) if note else None

        async def mark(connection: AsyncConnection, user_id: str | None, identifier: str | None) -> ThreadMark:
            values = {"note": cleaned_note, "userId": user_id, "createdAt": utc_now()}
            await connection.execute(
                self._dialect.insert(thread_marks)
                .values(threadId=known, kind=kind, **values)
                .on_conflict_do_update(index_elements=[thread_marks.c.threadId, thread_marks.c.kind], set_=values)
            )
            return ThreadMark(known, kind, cleaned_note, identifier, str(values["createdAt"]))

        kept: ThreadMark = await self._mark(known, kind, mark)
        return kept

    async def unmark_thread(self, thread_id: str, kind: MarkKind) -> bool:
        """Remove a pin or a flag; False if there is none. Raises as `mark_thread` does."""
        known = clean_id(thread_id, "thread id")

        async def unmark(connection: AsyncConnection, _user_id: str | None, _identifier: str | None) -> bool:
            one = thread_marks.c.threadId == known, thread_marks.c.kind == kind
            return bool((await connection.execute(delete(thread_marks).where(*one))).rowcount)

        return bool(await self._mark(known, kind, removal(unmark)))

    async def thread_marks_of(self, thread_id: str) -> tuple[ThreadMark, ...]:
        """The pins and flags on a thread; none if the acting user may not read it."""
        thread = await self._thread(thread_id, acting_user.get())
        if thread is None:
            return ()
        return await self.database.query(lambda connection: of_thread(connection, thread.id))

    async def _mark(
        self,
        thread_id: str,
        kind: MarkKind,
        work: Callable[[AsyncConnection, str | None, str | None], Awaitable[Any]],
    ) -> Any:
        if kind not in ("pin", "flag"):
            raise InvalidRecord(f"{clean_text(str(kind))[:60]!r} is not a kind of mark: use 'pin' or 'flag'")
        # An owner needs no role for a pin, so the role is checked here, once the owner is known.
        actor = acting_user.get()

        async def write(connection: AsyncConnection) -> Any:
            there, owner = await threads.owner(connection, thread_id)
            if there and kind == "pin" and isinstance(actor, str) and may_write(actor, owner):
                user = await get_user(connection, actor)
                return await work(connection, user.id if user else None, actor)
            reviewer = await access.demand(connection, actor)
            if not there:
                raise NotFound(f"the thread {thread_id} does not exist")
            return await work(connection, reviewer.id, reviewer.identifier)

        return await self._writer.submit(write)


async def of_thread(connection: AsyncConnection, thread_id: str) -> tuple[ThreadMark, ...]:
    """The pins and flags on the thread."""
    mark = thread_marks.c
    statement = (
        select(mark.threadId, mark.kind, mark.note, users.c.identifier, mark.createdAt)
        .outerjoin(users, users.c.id == mark.userId)
        .where(mark.threadId == thread_id)
        .order_by(mark.kind)
    )
    return tuple(ThreadMark(*row) for row in await connection.execute(statement))
