"""What users see and say of the review of their own threads. No role is needed."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_text, utc_now
from datalayer.history import feedback as votes
from datalayer.history import users
from datalayer.ownership import acting_user
from datalayer.records.review import AuditPage, ReviewedAnswer
from datalayer.review import audit
from datalayer.review import verdicts as review_verdicts
from datalayer.review.base import ReviewStore
from datalayer.schema.review import audit_entries


class ReviewsForUsers(ReviewStore):
    """What users see and say of the review of their own threads."""

    async def give_reasons(self, step_id: str, reasons: Sequence[str], comment: str | None = None) -> bool:
        """Say why the acting user's thumb on this step is what it is; False where there is no thumb of theirs.

        Without a comment the one that is there stays.
        """
        actor, known, now = acting_user.get(), clean_id(step_id, "step id of a vote"), utc_now()
        said = [clean_text(reason) for reason in reasons]
        text = None if comment is None else clean_text(comment)

        async def give(connection: AsyncConnection) -> bool:
            user = await users.acting(connection, actor)
            vote = await votes.of_user(connection, known, user.id if user else None)
            if vote is None:
                return False
            await votes.give_reasons(connection, self._dialect, vote, reasons=said, comment=text, now=now)
            return True

        return bool(await self._writer.submit(give))

    async def reviewed_answers(self, thread_id: str) -> list[ReviewedAnswer]:
        """Which answers of a thread that the acting user may read were reviewed; nothing of by whom and how."""
        thread = await self._thread(thread_id, acting_user.get())
        if thread is None:
            return []
        return await self.database.query(lambda connection: review_verdicts.reviewed(connection, thread.id))

    async def who_looked(self, *, cursor: str | None = None, limit: int = 50) -> AuditPage:
        """The audit of the acting user's own threads, newest first; it outlives the threads.

        Raises:
            InvalidRecord: the page is empty, or the cursor is none.
        """
        actor = acting_user.get()

        async def find(connection: AsyncConnection) -> AuditPage:
            user = await users.acting(connection, actor)
            if user is None:
                return AuditPage((), None)
            own = [audit_entries.c.ownerId == user.id]
            return await audit.page(connection, own, cursor=cursor, limit=limit)

        return await self.database.query(find)
