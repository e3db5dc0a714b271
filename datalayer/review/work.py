"""What reviewers take up: the queue, saved views, pins and flags, copies of threads."""

import uuid
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar

from sqlalchemy import delete, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_text, clean_time, known_id, utc_now
from datalayer.errors import AlreadyExists, InvalidRecord, NotFound
from datalayer.history import threads
from datalayer.history.users import get as get_user
from datalayer.ownership import acting_user, may_write
from datalayer.records.review import (
    CopiedAnswer,
    ItemReason,
    MarkKind,
    ReviewerProgress,
    ReviewItem,
    Sampled,
    SavedView,
    ThreadMark,
    ThreadOrigin,
)
from datalayer.review import access, audit, copies, queue
from datalayer.review import thread as review_thread
from datalayer.review.base import ReviewStore
from datalayer.schema.chat import users
from datalayer.schema.review import review_views, thread_marks, thread_origins

T = TypeVar("T")

LONGEST_LOCK_SECONDS = 24 * 3600.0
MOST_ITEMS = 1_000
LONGEST_NAME = 200
LONGEST_QUERY = 8_000


class ReviewWork(ReviewStore):
    """What reviewers do. Methods raise Forbidden where the acting user is no reviewer, unless they say so."""

    # The queue

    async def fill_queue(
        self, *, percent: float, since: str | None = None, until: str | None = None, wanted: int = 1
    ) -> Sampled:
        """Put in all answers with a thumb down that nobody has judged, and a sample of the others; what is there stays.

        Args:
            percent: of the others, from 0 to 100. The same answers each time; a larger sample holds a smaller one.
            since: of answers from this time on, and to before `until`.
            wanted: by how many reviewers each is to be judged.

        Raises:
            InvalidRecord: a number is out of bounds, or a time is none.
        """
        begin, end = clean_time(since, "begin"), clean_time(until, "end")
        await self._settled_answers()
        down = sample = 0
        while True:
            some: Sampled = await self._do(
                lambda connection, _: queue.fill(
                    connection, self._dialect, percent=percent, since=begin, until=end, wanted=wanted
                )
            )
            if some == Sampled(0, 0):
                return Sampled(down, sample)
            down, sample = down + some.thumbs_down, sample + some.sample

    async def enqueue_answers(
        self, step_ids: Collection[str], *, reviewer: str | None = None, wanted: int = 1, reason: ItemReason = "chosen"
    ) -> int:
        """Put answers in the queue, or assign those that are there to a reviewer (or to nobody); gives how many.

        What is assigned to somebody is locked for nobody else any more.

        Raises:
            InvalidRecord: there is no such reviewer, `wanted` is out of bounds, or there are more than a thousand.
        """
        if len(step_ids) > MOST_ITEMS:
            raise InvalidRecord(f"at most {MOST_ITEMS} answers are put in at once")
        ids = [clean_id(step_id, "step id") for step_id in step_ids]
        await self._settled_answers()

        async def enqueue(connection: AsyncConnection, _: access.Reviewer) -> int:
            assignee = None if reviewer is None else await access.reviewer_id(connection, clean_text(reviewer))
            return await queue.enqueue(
                connection, self._dialect, ids, reviewer_id=assignee, wanted=wanted, reason=reason
            )

        return int(await self._do(enqueue))

    async def take_next(self, *, lock_seconds: float = 1800, other_than: Collection[str] = ()) -> ReviewItem | None:
        """The item that the acting reviewer has open, or the next, locked for them; None where there is none left.

        First what is assigned to them, then what is for anybody: never one's own thread, nor what one has judged, nor
        what is assigned to another.

        Args:
            lock_seconds: how long nobody else is given it.
            other_than: the ids of answers not to give.

        Raises:
            InvalidRecord: the lock is too long.
        """
        seconds, others = _bounded(lock_seconds), [clean_id(one, "step id") for one in other_than]
        item: ReviewItem | None = await self._do(
            lambda connection, reviewer: queue.take_next(
                connection, reviewer.named[0], lock_seconds=seconds, other_than=others
            )
        )
        return item

    async def keep_lock(self, step_id: str, *, lock_seconds: float = 1800) -> bool:
        """Hold on to an item for longer; False where it is not the acting reviewer's any more.

        Raises:
            InvalidRecord: the lock is too long.
        """
        known, seconds = clean_id(step_id, "step id"), _bounded(lock_seconds)
        return bool(
            await self._do(lambda connection, reviewer: queue.keep(connection, known, reviewer.named[0], seconds))
        )

    async def release_item(self, step_id: str) -> bool:
        """Let go of an item that the acting reviewer holds (the system: that anybody does); whether it was held."""
        known = clean_id(step_id, "step id")
        return bool(await self._do(lambda connection, reviewer: queue.release(connection, known, reviewer.id)))

    async def list_queue(
        self, *, is_done: bool = False, limit: int = 100, thread_id: str | None = None, excerpts: bool = False
    ) -> list[ReviewItem]:
        """Those that the acting reviewer holds and then the others as they were put in, or those done last.

        Args:
            thread_id: of this thread alone.
            excerpts: with the beginnings of the questions, which tell of what is in a thread.
        """
        actor, most = acting_user.get(), max(1, min(limit, MOST_ITEMS))
        known = None if thread_id is None else clean_id(thread_id, "thread id")

        async def find(connection: AsyncConnection) -> list[ReviewItem]:
            reviewer = await access.demand(connection, actor)
            return await queue.listed(
                connection, reviewer.id, is_done=is_done, limit=most, thread_id=known, excerpts=excerpts
            )

        return await self.database.query(find)

    async def review_progress(self, *, since: str | None = None) -> list[ReviewerProgress]:
        """For each reviewer what is done and what is to do, of verdicts since then; and what is for anybody."""
        begin = clean_time(since, "begin")
        return await self._as_reviewer(lambda connection: queue.progress(connection, begin))

    # Saved views, pins and flags

    async def list_views(self) -> list[SavedView]:
        """The acting reviewer's views, and those that others share, by name."""
        actor = acting_user.get()

        async def find(connection: AsyncConnection) -> list[SavedView]:
            reviewer = await access.demand(connection, actor)
            view = review_views.c
            statement = (
                select(view.id, view.name, view.query, users.c.identifier, view.isShared, view.createdAt)
                .join(users, users.c.id == view.ownerId)
                .where(or_(view.isShared, view.ownerId == reviewer.id))
                .order_by(view.name, view.id)
            )
            return [SavedView(*row) for row in await connection.execute(statement)]

        return await self.database.query(find)

    async def put_view(self, name: str, query: str, *, is_shared: bool = False) -> SavedView:
        """Save a view under a name that the acting reviewer has no other under.

        Raises:
            AlreadyExists: they have one of that name, which stays as it is.
            InvalidRecord: the name is empty, or one of the two is too long.
        """
        named, said = clean_text(name).strip(), clean_text(query)
        if not named or len(named) > LONGEST_NAME or len(said) > LONGEST_QUERY:
            raise InvalidRecord(f"a view has a name of at most {LONGEST_NAME} characters")

        async def put(connection: AsyncConnection, reviewer: access.Reviewer) -> SavedView:
            owner_id, owner = reviewer.named
            view = SavedView(str(uuid.uuid4()), named, said, owner, is_shared, utc_now())
            values = {"id": view.id, "ownerId": owner_id, "name": named, "query": said, "isShared": is_shared}
            statement = (
                self._dialect.insert(review_views)
                .values(**values, createdAt=view.created_at)
                .on_conflict_do_nothing(index_elements=[review_views.c.ownerId, review_views.c.name])
            )
            if not (await connection.execute(statement)).rowcount:
                raise AlreadyExists("the reviewer has a view of this name")
            return view

        kept: SavedView = await self._do(put)
        return kept

    async def remove_view(self, view_id: str) -> bool:
        """Remove one of the acting reviewer's own views; whether there was one."""
        known = clean_id(view_id, "view id")

        async def remove(connection: AsyncConnection, reviewer: access.Reviewer) -> bool:
            own = review_views.c.id == known, review_views.c.ownerId == reviewer.named[0]
            return bool((await connection.execute(delete(review_views).where(*own))).rowcount)

        return bool(await self._do(remove))

    async def mark_thread(self, thread_id: str, kind: MarkKind, *, note: str | None = None) -> ThreadMark:
        """Pin or flag a thread, which exempts it from retention. Its owner may pin it, too.

        Raises:
            NotFound: there is no such thread.
            Forbidden: the acting user is neither a reviewer nor, for a pin, the owner.
            InvalidRecord: it is neither a pin nor a flag.
        """
        known, said = clean_id(thread_id, "thread id"), clean_text(note) if note else None

        async def mark(connection: AsyncConnection, user_id: str | None, identifier: str | None) -> ThreadMark:
            values = {"note": said, "userId": user_id, "createdAt": utc_now()}
            await connection.execute(
                self._dialect.insert(thread_marks)
                .values(threadId=known, kind=kind, **values)
                .on_conflict_do_update(index_elements=[thread_marks.c.threadId, thread_marks.c.kind], set_=values)
            )
            return ThreadMark(known, kind, said, identifier, str(values["createdAt"]))

        kept: ThreadMark = await self._mark(known, kind, mark)
        return kept

    async def unmark_thread(self, thread_id: str, kind: MarkKind) -> bool:
        """Take a pin or a flag away; whether there was one. Raises as `mark_thread` does."""
        known = clean_id(thread_id, "thread id")

        async def unmark(connection: AsyncConnection, _user_id: str | None, _identifier: str | None) -> bool:
            one = thread_marks.c.threadId == known, thread_marks.c.kind == kind
            return bool((await connection.execute(delete(thread_marks).where(*one))).rowcount)

        return bool(await self._mark(known, kind, unmark))

    async def thread_marks_of(self, thread_id: str) -> tuple[ThreadMark, ...]:
        """The pins and flags on a thread that the acting user may read; none of any other."""
        thread = await self._thread(thread_id, acting_user.get())
        if thread is None:
            return ()
        return await self.database.query(lambda connection: review_thread.marks(connection, thread.id))

    # Taking over

    async def take_over(
        self,
        thread_id: str,
        *,
        step_id: str | None = None,
        purpose: str | None = None,
        purpose_required: bool = False,
        title_ending: str = "",
    ) -> ThreadOrigin:
        """Copy the thread into the acting reviewer's own, to go on with it there; the original is not touched.

        Args:
            step_id: the answer that is to be bettered.
            title_ending: what the copy's title ends with, so that the two can be told apart; once for a copy of a copy.

        Raises:
            NotFound: there is no such thread, or no such answer in it.
            InvalidRecord: a purpose is required and none is given, or it is too long.
        """
        known = clean_id(thread_id, "thread id")
        answer = None if step_id is None else clean_id(step_id, "step id")
        said, ending = audit.clean_purpose(purpose, required=purpose_required), clean_text(title_ending)

        async def copy(connection: AsyncConnection, reviewer: access.Reviewer) -> ThreadOrigin:
            who = reviewer.named
            origin = await copies.take_over(connection, known, answer, who, ending)
            subjects = await audit.subjects_of(connection, known, reviewer.id)
            copied = {"copy": origin.thread_id}
            await audit.note(connection, "take_over", who[1], subjects, purpose=said, details=copied)
            return origin

        await self._writer.settled(known)
        origin: ThreadOrigin = await self._do(copy)
        self.search_indexer.note()
        return origin

    async def answers_of_copies(self, copy_ids: Collection[str]) -> list[CopiedAnswer]:
        """The latest 20 answers in each of these copies that are the acting reviewer's own, latest first.

        The system has no copies.
        """
        actor, known = acting_user.get(), [one for one in map(known_id, copy_ids) if one is not None]

        async def find(connection: AsyncConnection) -> list[CopiedAnswer]:
            reviewer = await access.demand(connection, actor)
            return await copies.latest_answers(connection, known, reviewer.id)

        for copy_id in known:
            await self._writer.settled(copy_id)
        return await self.database.query(find)

    async def link_better_run(self, copy_id: str, better_step_id: str, *, original_step_id: str | None = None) -> None:
        """Say which answer in one's copy is better, and (if `take_over` did not) than which in the original.

        Raises:
            NotFound: there is no such copy, or an answer is not where it should be.
            Forbidden: the copy is another reviewer's.
        """
        known, better = clean_id(copy_id, "thread id"), clean_id(better_step_id, "step id")
        original = None if original_step_id is None else clean_id(original_step_id, "step id")
        await self._writer.settled(known)
        await self._do(lambda connection, reviewer: copies.link(connection, known, better, original, reviewer.named[0]))

    async def _is_copy(self, thread_id: str) -> bool:
        """Whether the thread was taken over from another, whoever asks."""
        copied = select(thread_origins.c.threadId).where(thread_origins.c.threadId == thread_id)

        async def find(connection: AsyncConnection) -> bool:
            return (await connection.execute(copied)).first() is not None

        return await self.database.query(find)

    # What the methods above share

    async def _mark(
        self,
        thread_id: str,
        kind: MarkKind,
        work: Callable[[AsyncConnection, str | None, str | None], Awaitable[Any]],
    ) -> Any:
        if kind not in ("pin", "flag"):
            raise InvalidRecord("a thread is marked with a pin or a flag")
        actor = acting_user.get()

        async def write(connection: AsyncConnection) -> Any:
            there, owner = await threads.owner(connection, thread_id)
            if there and kind == "pin" and isinstance(actor, str) and may_write(actor, owner):
                user = await get_user(connection, actor)
                return await work(connection, user.id if user else None, actor)
            reviewer = await access.demand(connection, actor)
            if not there:
                raise NotFound("there is no such thread")
            return await work(connection, reviewer.id, reviewer.identifier)

        return await self._writer.submit(write)


def _bounded(lock_seconds: float) -> float:
    if not 0 < lock_seconds <= LONGEST_LOCK_SECONDS:
        raise InvalidRecord("an item is locked for up to a day")
    return lock_seconds
