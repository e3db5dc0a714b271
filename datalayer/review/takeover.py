"""Threads taken over: copies in which a reviewer goes on, and the better answers in them."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_text, known_id
from datalayer.records.review import CopiedAnswer, ThreadOrigin
from datalayer.review import access, audit, copies
from datalayer.review.base import ReviewStore
from datalayer.schema.review import thread_origins


class Takeovers(ReviewStore):
    """Threads taken over. Methods raise Forbidden where the acting user is no reviewer."""

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
        origin = await self._write_as_reviewer(copy)
        self.indexer.note()
        return origin

    async def answers_of_copies(self, copy_ids: Collection[str]) -> list[CopiedAnswer]:
        """The latest 20 answers in each of these copies that are the acting reviewer's own, latest first.

        The system has no copies.
        """
        known = [one for one in map(known_id, copy_ids) if one is not None]
        for copy_id in known:
            await self._writer.settled(copy_id)
        return await self._read_as_reviewer(
            lambda connection, reviewer: copies.latest_answers(connection, known, reviewer.id)
        )

    async def link_better_run(self, copy_id: str, better_step_id: str, *, original_step_id: str | None = None) -> None:
        """Say which answer in one's copy is better, and (if `take_over` did not) than which in the original.

        Raises:
            NotFound: there is no such copy, or an answer is not where it should be.
            Forbidden: the copy is another reviewer's.
        """
        known, better = clean_id(copy_id, "thread id"), clean_id(better_step_id, "step id")
        original = None if original_step_id is None else clean_id(original_step_id, "step id")
        await self._writer.settled(known)
        await self._write_as_reviewer(
            lambda connection, reviewer: copies.link(connection, known, better, original, reviewer.named[0])
        )

    async def _is_copy(self, thread_id: str) -> bool:
        """Whether the thread was taken over from another, whoever asks."""
        copied = select(thread_origins.c.threadId).where(thread_origins.c.threadId == thread_id)

        async def find(connection: AsyncConnection) -> bool:
            return (await connection.execute(copied)).first() is not None

        return await self.database.query(find)
