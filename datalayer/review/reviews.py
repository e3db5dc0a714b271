"""The review's public methods: find bad answers, judge, correct and export them; owners see who read their threads.

The acting user (`acting_user`) must have the role reviewer or admin in their account (see `access`); the system may do
everything that needs no person's name. The audit's row is stored before another person's thread is read.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.blobs import OpenBlob
from datalayer.chainlit_dicts import whole_thread_dict_of
from datalayer.cleaning import clean_id, clean_text, known_id, utc_in, utc_now
from datalayer.errors import BlobNotFound
from datalayer.history import thread_reads
from datalayer.history.user_names import stored_name
from datalayer.ownership import SYSTEM
from datalayer.records.audit import AuditPage
from datalayer.records.chat import Element
from datalayer.records.review import ReviewThread, Verdict, VerdictChange
from datalayer.review import access, audit
from datalayer.review import thread as review_thread
from datalayer.review import verdicts as review_verdicts
from datalayer.review.answers_api import ReviewAnswers
from datalayer.review.for_users import ReviewsForUsers
from datalayer.review.marks import ThreadMarks
from datalayer.review.queue_api import ReviewQueue
from datalayer.review.retention import Retention
from datalayer.review.takeover import Takeovers
from datalayer.review.views import SavedViews
from datalayer.schema.review import audit_entries
from datalayer.writes.repeats import removal

OPENED_FOR_SECONDS = 24 * 3600.0
"""How long a reviewer may read a thread's files after opening the thread."""


class Reviews(ReviewAnswers, ReviewQueue, SavedViews, ThreadMarks, Takeovers, ReviewsForUsers, Retention):
    """Threads, verdicts and the audit. Methods raise Forbidden if the acting user is no reviewer."""

    # One thread

    async def open_thread_for_review(
        self, thread_id: str, *, purpose: str | None = None, purpose_required: bool = False
    ) -> ReviewThread | None:
        """The thread with its votes, verdicts, earlier versions, usage, marks and copies; None if it does not exist.

        The audit gets a row first, with the purpose. For another reviewer's copy it gets one for the original's owner,
        too. Reading one's own thread leaves no row.

        Raises:
            InvalidRecord: the purpose is missing although it is required, or is longer than 2,000 characters.
        """
        known = known_id(thread_id)

        async def note(connection: AsyncConnection, reviewer: access.Reviewer) -> bool:
            if known is None or not (await audit.owner_of(connection, known))[0]:
                return False
            if subjects := await audit.subjects_of(connection, known, reviewer.id):
                cleaned = audit.clean_purpose(purpose, required=purpose_required)
                await audit.note(connection, "read", reviewer.identifier, subjects, purpose=cleaned)
            return True

        if not await self._write_as_reviewer(note) or known is None:
            return None
        await self._writer.settled(known)
        whole = await thread_reads.get(self.database, known)
        if whole is None:
            return None
        about = await self.database.query(lambda connection: review_thread.surroundings(connection, known))
        return ReviewThread(whole_thread_dict_of(whole, self._file_url), **about)

    async def open_element_for_review(
        self, thread_id: str, element_id: str, start: int = 0, end: int | None = None
    ) -> tuple[Element, OpenBlob] | None:
        """Like `open_element`, for a reviewer who opened the thread in the last 24 hours; None otherwise.

        Raises:
            BlobError: the store has the file but cannot read it now.
        """
        element = await self._element_for_review(thread_id, element_id)
        if element is None or element.object_key is None:
            return None
        try:
            return element, await self.blobs.open(element.object_key, start, end)
        except BlobNotFound:
            return None

    async def element_link_for_review(self, thread_id: str, element_id: str, seconds: int) -> str | None:
        """Like `element_link`, for a reviewer who opened the thread in the last 24 hours; None otherwise.

        Args:
            seconds: how long the link is valid.

        Raises:
            BlobError: the store cannot make a link now.
        """
        element = await self._element_for_review(thread_id, element_id)
        if element is None or element.object_key is None:
            return None
        return await self.blobs.signed_url(element.object_key, seconds)

    async def _element_for_review(self, thread_id: str, element_id: str) -> Element | None:
        known, since = known_id(thread_id), utc_in(-OPENED_FOR_SECONDS)
        if known is None or not await self._read_as_reviewer(
            lambda connection, reviewer: audit.has_read(connection, reviewer.identifier, known, since)
        ):
            return None
        return await self._element(known, element_id, SYSTEM)

    # Verdicts

    async def put_verdict(self, verdict: Verdict) -> Verdict:
        """Store the acting reviewer's verdict on an answer, in place of an earlier one; returns it as stored.

        `thread_id`, `reviewer`, `created_at` and `updated_at` of the given record are ignored. An item of the queue is
        done once it has as many verdicts as it wants. For example:

            await layer.put_verdict(Verdict(step_id, "wrong", reasons=("outdated",), better_answer="In 2026, …"))

        Raises:
            NotFound: there is no such answer.
            InvalidRecord: the label is empty or longer than 100 characters.
            Forbidden: the acting user is no reviewer, or is the system.
        """
        cleaned, now = review_verdicts.clean(verdict), utc_now()

        kept = await self._write_as_reviewer(
            lambda connection, reviewer: review_verdicts.put(connection, self._dialect, cleaned, reviewer.named, now)
        )
        self.answer_follower.note()
        return kept

    async def remove_verdict(self, step_id: str) -> bool:
        """Delete the acting reviewer's verdict on an answer; False if there is none. Its history is kept."""
        known, now = clean_id(step_id, "step id"), utc_now()
        return await self._write_as_reviewer(
            removal(
                lambda connection, reviewer: review_verdicts.remove(
                    connection, self._dialect, known, reviewer.named[0], now
                )
            )
        )

    async def verdict_history(self, thread_id: str) -> list[VerdictChange]:
        """Every change of every verdict on the answers of a thread, oldest first."""
        known = clean_id(thread_id, "thread id")
        return await self._read_as_reviewer(lambda connection, _: review_verdicts.history(connection, known))

    # The audit

    async def list_audit(
        self, *, actor: str | None = None, thread_id: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> AuditPage:
        """A page of the audit, newest first. For admins.

        Args:
            actor: only entries of the user with this identifier.
            thread_id: only entries about this thread.
            cursor: `next_cursor` of the page before.
            limit: the page's size, at most 200.

        Raises:
            Forbidden: the acting user is no admin.
            InvalidRecord: the limit is below 1, or the cursor is not valid.
        """
        conditions = [] if thread_id is None else [audit_entries.c.subjectId == clean_id(thread_id, "thread id")]

        async def read(connection: AsyncConnection, _: access.Reviewer) -> AuditPage:
            if actor is not None:
                conditions.append(audit_entries.c.actor == await stored_name(connection, clean_text(actor)))
            return await audit.page(connection, "audit", conditions, cursor=cursor, limit=limit)

        return await self._read_as_reviewer(read, access.ADMINS)
