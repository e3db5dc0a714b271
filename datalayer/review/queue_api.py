"""The review queue (also known as an annotation queue): each item is locked for one reviewer at a time."""

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer import cursors
from datalayer.cleaning import clean_id, clean_text, clean_time, known_id
from datalayer.errors import InvalidRecord
from datalayer.records.review import ItemReason, ReviewerProgress, ReviewItem, Sampled
from datalayer.review import access, queue
from datalayer.review.base import ReviewStore
from datalayer.writes.repeats import removal

LONGEST_LOCK_SECONDS = 24 * 3600.0
MOST_ITEMS = 1_000


class ReviewQueue(ReviewStore):
    """Methods of the queue. They raise Forbidden if the acting user is no reviewer."""

    async def fill_queue(
        self, *, percent: float, since: str | None = None, until: str | None = None, wanted: int = 1
    ) -> Sampled:
        """Add every unreviewed answer with a thumb down, and a sample of the other unreviewed answers.

        Items that are in the queue already stay as they are. Returns how many were added.

        Args:
            percent: the sample's share of the others, from 0 to 100. The same answers are drawn each time, and a larger
                sample contains each smaller one.
            since: only answers from this time on.
            until: only answers before this time.
            wanted: how many reviewers are to judge each answer, from 1 to 20.

        Raises:
            InvalidRecord: a number is out of bounds, or a time is not valid.
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
        """Add answers to the queue and assign them; returns how many items were assigned.

        Items that are in the queue already are only assigned. Other reviewers lose their locks on assigned items.

        Args:
            step_ids: the ids of the answers, at most 1,000.
            reviewer: the identifier of the assignee; None assigns the items to nobody.
            wanted: how many reviewers are to judge each new item, from 1 to 20.
            reason: why new items are in the queue.

        Raises:
            InvalidRecord: no reviewer has this identifier, `wanted` is out of bounds, or there are more than 1,000 ids.
        """
        if len(step_ids) > MOST_ITEMS:
            raise InvalidRecord(f"{len(step_ids):,} answers are too many to add at once: the maximum is {MOST_ITEMS:,}")
        ids = [clean_id(step_id, "step id") for step_id in step_ids]
        await self._settled_answers()

        async def enqueue(connection: AsyncConnection, _: access.Reviewer) -> int:
            assignee = None if reviewer is None else await access.reviewer_id(connection, clean_text(reviewer))
            return await queue.enqueue(
                connection, self._dialect, ids, reviewer_id=assignee, wanted=wanted, reason=reason
            )

        return await self._write_as_reviewer(enqueue)

    async def take_next(self, *, lock_seconds: float = 1800, other_than: Collection[str] = ()) -> ReviewItem | None:
        """The item that the acting reviewer holds, or the next one, locked for them; None if none is left.

        Items assigned to the reviewer come first, then those assigned to nobody. Unassigned answers in the reviewer's
        own threads, answers that they have judged, and items assigned to others are left out.

        Args:
            lock_seconds: how long the item is locked, at most a day.
            other_than: the ids of answers to skip.

        Raises:
            InvalidRecord: the lock is not between 0 seconds and a day.
        """
        seconds, others = _bounded(lock_seconds), [clean_id(one, "step id") for one in other_than]
        return await self._write_as_reviewer(
            lambda connection, reviewer: queue.take_next(
                connection, reviewer.named[0], lock_seconds=seconds, other_than=others
            )
        )

    async def keep_lock(self, step_id: str, *, lock_seconds: float = 1800) -> bool:
        """Extend the acting reviewer's lock on an item, from now; False if they no longer hold it.

        Raises:
            InvalidRecord: the lock is not between 0 seconds and a day.
        """
        known, seconds = clean_id(step_id, "step id"), _bounded(lock_seconds)
        return await self._write_as_reviewer(
            lambda connection, reviewer: queue.keep(connection, known, reviewer.named[0], seconds)
        )

    async def release_item(self, step_id: str) -> bool:
        """Unlock an item that the acting reviewer holds (the system: any item); False if it was not locked."""
        known = clean_id(step_id, "step id")
        return await self._write_as_reviewer(
            removal(lambda connection, reviewer: queue.release(connection, known, reviewer.id))
        )

    async def list_queue(
        self,
        *,
        is_done: bool = False,
        limit: int = 100,
        thread_id: str | None = None,
        excerpts: bool = False,
        cursor: str | None = None,
    ) -> list[ReviewItem]:
        """Open items, the acting reviewer's locked ones first, then by age; or finished items, the latest first.

        Args:
            is_done: whether finished items are listed.
            limit: how many, at most 1,000.
            thread_id: only items of this thread.
            excerpts: whether items contain the beginning of the question, which reveals content of the thread.
            cursor: of open items, only those behind this one (`queue_cursor`).

        Raises:
            InvalidRecord: the cursor is not valid, or of finished items.
        """
        after = None if cursor is None else _place(cursor, is_done=is_done)
        most = max(1, min(limit, MOST_ITEMS))
        known = None if thread_id is None else clean_id(thread_id, "thread id")
        return await self._read_as_reviewer(
            lambda connection, reviewer: queue.listed(
                connection, reviewer.id, is_done=is_done, limit=most, thread_id=known, excerpts=excerpts, after=after
            )
        )

    async def review_progress(self, *, since: str | None = None) -> list[ReviewerProgress]:
        """Counts per reviewer of verdicts and finished items since then, and of open items; and of unassigned ones."""
        begin = clean_time(since, "begin")
        return await self._read_as_reviewer(lambda connection, _: queue.progress(connection, begin))


def queue_cursor(item: ReviewItem, reviewer: str | None) -> str:
    """The cursor behind an open item, for a reviewer."""
    is_held = reviewer is not None and item.locked_by == reviewer
    return cursors.encode("queue", "0" if is_held else "1", item.created_at, item.step_id)


def _place(cursor: str, *, is_done: bool) -> tuple[int, str, str]:
    """The place behind which a page of open items begins.

    Raises:
        InvalidRecord: the cursor is not valid, or of finished items.
    """
    if is_done:
        raise InvalidRecord("finished items have no cursor")
    held, created_at, step_id = cursors.decode(cursor, "queue", {"0": 0, "1": 1}.get, clean_text, known_id)
    return held, created_at, step_id


def _bounded(lock_seconds: float) -> float:
    if not 0 < lock_seconds <= LONGEST_LOCK_SECONDS:
        raise InvalidRecord(f"a lock of {lock_seconds:g} seconds is not valid: give more than 0 and at most a day")
    return lock_seconds
