"""Copies of threads, in which reviewers work out better answers."""

import uuid
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_text, known_id
from datalayer.history import threads
from datalayer.history.copying import demand_shareable
from datalayer.records.review import CopiedAnswer, ThreadOrigin
from datalayer.review import access, audit, copies
from datalayer.review.base import ReviewStore


class Takeovers(ReviewStore):
    """Methods of copies. They raise Forbidden if the acting user is no reviewer."""

    async def take_over(
        self,
        thread_id: str,
        *,
        step_id: str | None = None,
        purpose: str | None = None,
        purpose_required: bool = False,
        title_ending: str = "",
    ) -> ThreadOrigin:
        """Copy a thread into the acting reviewer's own threads, to continue it there. The original is not changed.

        Args:
            thread_id: the original's id.
            step_id: the answer to improve.
            purpose: stored in the audit.
            purpose_required: whether the purpose may be missing.
            title_ending: appended to the copy's title, unless the title ends with it already.

        Raises:
            NotFound: there is no such thread, or no such answer in it.
            InvalidRecord: the purpose is missing although it is required, or is longer than 2,000 characters.
        """
        known = clean_id(thread_id, "thread id")
        answer = None if step_id is None else clean_id(step_id, "step id")
        cleaned_purpose, ending = audit.clean_purpose(purpose, required=purpose_required), clean_text(title_ending)
        copy_id = str(uuid.uuid4())

        async def copy(connection: AsyncConnection, reviewer: access.Reviewer) -> ThreadOrigin:
            who = reviewer.named
            origin = await copies.take_over(connection, known, answer, who, ending, copy_id=copy_id)
            subjects = await audit.subjects_of(connection, known, reviewer.id)
            copied = {"copy": origin.thread_id}
            await audit.note(connection, "take_over", who[1], subjects, purpose=cleaned_purpose, details=copied)
            return origin

        async def is_there(connection: AsyncConnection) -> bool:
            return await threads.get(connection, copy_id) is not None

        await self._writer.settled(known)
        origin = await self._write_as_reviewer(copy, is_done=is_there)
        self.search_indexer.note()
        return origin

    async def answers_of_copies(self, copy_ids: Collection[str]) -> list[CopiedAnswer]:
        """The beginnings of the latest 20 answers in each of these copies, latest first.

        Copies of other reviewers are left out. The system has no copies.
        """
        known = [one for one in map(known_id, copy_ids) if one is not None]
        for copy_id in known:
            await self._writer.settled(copy_id)
        return await self._read_as_reviewer(
            lambda connection, reviewer: copies.latest_answers(connection, known, reviewer.id)
        )

    async def link_better_run(self, copy_id: str, better_step_id: str, *, original_step_id: str | None = None) -> None:
        """Link an answer in the acting reviewer's copy as the better one.

        Args:
            copy_id: the copy's id.
            better_step_id: the better answer, in the copy.
            original_step_id: the answer in the original that it improves; by default the one given to `take_over`.

        Raises:
            NotFound: there is no such copy, or an answer is not in its thread.
            Forbidden: the copy belongs to another reviewer.
        """
        known, better = clean_id(copy_id, "thread id"), clean_id(better_step_id, "step id")
        original = None if original_step_id is None else clean_id(original_step_id, "step id")
        await self._writer.settled(known)
        await self._write_as_reviewer(
            lambda connection, reviewer: copies.link(connection, known, better, original, reviewer.named[0])
        )

    async def _demand_shareable(self, thread_id: str, metadata: Mapping[str, Any] | None) -> None:
        await self.database.query(lambda connection: demand_shareable(connection, thread_id, metadata))
