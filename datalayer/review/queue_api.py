"""The queue: answers that are to be judged, given to one reviewer at a time."""

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_text, clean_time
from datalayer.errors import InvalidRecord
from datalayer.records.review import ItemReason, ReviewerProgress, ReviewItem, Sampled
from datalayer.review import access, queue
from datalayer.review.base import ReviewStore

LONGEST_LOCK_SECONDS = 24 * 3600.0
MOST_ITEMS = 1_000


class ReviewQueue(ReviewStore):
    """The queue. Methods raise Forbidden where the acting user is no reviewer."""

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
            some = await self._write_as_reviewer(
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

        return await self._write_as_reviewer(enqueue)

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
        return await self._write_as_reviewer(
            lambda connection, reviewer: queue.take_next(
                connection, reviewer.named[0], lock_seconds=seconds, other_than=others
            )
        )

    async def keep_lock(self, step_id: str, *, lock_seconds: float = 1800) -> bool:
        """Hold on to an item for longer; False where it is not the acting reviewer's any more.

        Raises:
            InvalidRecord: the lock is too long.
        """
        known, seconds = clean_id(step_id, "step id"), _bounded(lock_seconds)
        return await self._write_as_reviewer(
            lambda connection, reviewer: queue.keep(connection, known, reviewer.named[0], seconds)
        )

    async def release_item(self, step_id: str) -> bool:
        """Let go of an item that the acting reviewer holds (the system: that anybody does); whether it was held."""
        known = clean_id(step_id, "step id")
        return await self._write_as_reviewer(lambda connection, reviewer: queue.release(connection, known, reviewer.id))

    async def list_queue(
        self, *, is_done: bool = False, limit: int = 100, thread_id: str | None = None, excerpts: bool = False
    ) -> list[ReviewItem]:
        """Those that the acting reviewer holds and then the others as they were put in, or those done last.

        Args:
            thread_id: of this thread alone.
            excerpts: with the beginnings of the questions, which tell of what is in a thread.
        """
        most = max(1, min(limit, MOST_ITEMS))
        known = None if thread_id is None else clean_id(thread_id, "thread id")
        return await self._read_as_reviewer(
            lambda connection, reviewer: queue.listed(
                connection, reviewer.id, is_done=is_done, limit=most, thread_id=known, excerpts=excerpts
            )
        )

    async def review_progress(self, *, since: str | None = None) -> list[ReviewerProgress]:
        """For each reviewer what is done and what is to do, of verdicts since then; and what is for anybody."""
        begin = clean_time(since, "begin")
        return await self._read_as_reviewer(lambda connection, _: queue.progress(connection, begin))


def _bounded(lock_seconds: float) -> float:
    if not 0 < lock_seconds <= LONGEST_LOCK_SECONDS:
        raise InvalidRecord("an item is locked for up to a day")
    return lock_seconds
