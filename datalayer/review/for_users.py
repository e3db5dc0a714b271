"""The review for users: reasons for their votes, which answers were reviewed, and who read their threads."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_text, known_id, utc_now
from datalayer.history import feedback as votes
from datalayer.history import users
from datalayer.ownership import acting_user, may_write
from datalayer.records.audit import AuditPage, LookPage
from datalayer.records.review import ReviewedAnswer, StepVersion
from datalayer.review import audit
from datalayer.review import verdicts as review_verdicts
from datalayer.review.base import ReviewStore
from datalayer.review.thread import versions


class ReviewsForUsers(ReviewStore):
    """Methods for the owners of threads. They require no role."""

    async def give_reasons(self, step_id: str, reasons: Sequence[str], comment: str | None = None) -> bool:
        """Add reasons to the acting user's vote on a step; False if they have no vote on it.

        Args:
            step_id: the step with the vote.
            reasons: replace the earlier reasons.
            comment: replaces the earlier comment; None keeps it.

        Raises:
            InvalidRecord: the step's id is not a UUID.
        """
        actor, known, now = acting_user.get(), clean_id(step_id, "step id of a vote"), utc_now()
        cleaned_reasons = [clean_text(reason) for reason in reasons]
        text = None if comment is None else clean_text(comment)

        async def give(connection: AsyncConnection) -> bool:
            user = await users.acting(connection, actor)
            vote = await votes.of_user(connection, known, user.id if user else None)
            if vote is None:
                return False
            await votes.give_reasons(connection, self._dialect, vote, reasons=cleaned_reasons, comment=text, now=now)
            return True

        return bool(await self._writer.submit(give))

    async def reasons_of_votes(self, vote_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The reasons of those of these votes that are the acting user's and have any, by the id of the vote."""
        actor, ids = acting_user.get(), [known for one in vote_ids if (known := known_id(one)) is not None]

        async def find(connection: AsyncConnection) -> dict[str, tuple[str, ...]]:
            user = await users.acting(connection, actor)
            return await votes.reasons(connection, ids, user.id if user else None)

        return await self.database.query(find) if ids else {}

    async def reviewed_answers(self, thread_id: str) -> list[ReviewedAnswer]:
        """The reviewed answers of a thread, without reviewers and verdicts; none if the acting user may not read it."""
        thread = await self._thread(thread_id, acting_user.get())
        if thread is None:
            return []
        return await self.database.query(lambda connection: review_verdicts.reviewed(connection, thread.id))

    async def message_versions(self, thread_id: str) -> tuple[StepVersion, ...]:
        """Earlier versions of edited and removed messages of an own thread, in the order of the changes."""
        actor = acting_user.get()
        thread = await self._thread(thread_id, actor)
        if thread is None or not may_write(actor, thread.user_identifier):
            return ()
        return await self.database.query(lambda connection: versions(connection, thread.id))

    async def who_looked(self, *, cursor: str | None = None, limit: int = 50, export: str | None = None) -> AuditPage:
        """A page of the audit of the acting user's threads, newest first. Entries are kept when a thread is deleted.

        Args:
            cursor: `next_cursor` of the page before.
            limit: the page's size, at most 200.
            export: only entries of the export with this id.

        Raises:
            InvalidRecord: the limit is below 1, or the cursor is not valid.
        """
        actor, text = acting_user.get(), None if export is None else clean_text(export)

        async def find(connection: AsyncConnection) -> AuditPage:
            user = await users.acting(connection, actor)
            if user is None:
                return AuditPage((), None)
            own = [audit.looks_at(user.id)]
            if text is not None:
                own.append(audit.export_id == text)
            return await audit.page(connection, "own-looks", own, cursor=cursor, limit=limit)

        return await self.database.query(find)

    async def who_looked_by_export(self, *, cursor: str | None = None, limit: int = 50) -> LookPage:
        """`who_looked` with one line for each export, however many of the acting user's threads it contains.

        Args:
            cursor: `next_cursor` of the page before.
            limit: the page's size in lines, at most 200.

        Raises:
            InvalidRecord: the limit is below 1, or the cursor is not valid.
        """
        actor = acting_user.get()

        async def find(connection: AsyncConnection) -> LookPage:
            user = await users.acting(connection, actor)
            if user is None:
                return LookPage((), None)
            return await audit.looks(connection, user.id, cursor=cursor, limit=limit)

        return await self.database.query(find)
