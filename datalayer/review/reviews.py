"""The review console's data: answers to look through, verdicts, numbers, exports, the audit, and what users see of it.

Who acts (`acting_user`) must be a reviewer or an admin by the role in their account, which `access` asks in the
transaction of a write and before a read; the system may do whatever needs no name. Another person's thread is never
read before the audit has its row.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.blobs import OpenBlob
from datalayer.chainlit_dicts import whole_thread_dict_of
from datalayer.cleaning import clean_id, clean_text, known_id, utc_in, utc_now
from datalayer.errors import BlobNotFound
from datalayer.history import thread_reads
from datalayer.ownership import SYSTEM
from datalayer.records.chat import Element
from datalayer.records.review import AuditPage, ReviewThread, Verdict, VerdictChange
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

OPENED_FOR_SECONDS = 24 * 3600.0
"""So long after a thread was opened for review its files may be read."""


class Reviews(ReviewAnswers, ReviewQueue, SavedViews, ThreadMarks, Takeovers, ReviewsForUsers, Retention):
    """What reviewers read and say. Methods raise Forbidden where the acting user is no reviewer, unless they say so."""

    # One thread

    async def open_thread_for_review(
        self, thread_id: str, *, purpose: str | None = None, purpose_required: bool = False
    ) -> ReviewThread | None:
        """The thread with all that is said of it; None where there is none. One's own leaves no row in the audit.

        Another's copy leaves one for whom it was copied from as well.

        Raises:
            InvalidRecord: a purpose is required and none is given, or it is too long.
        """
        known = known_id(thread_id)

        async def note(connection: AsyncConnection, reviewer: access.Reviewer) -> bool:
            if known is None or not (await audit.owner_of(connection, known))[0]:
                return False
            if subjects := await audit.subjects_of(connection, known, reviewer.id):
                said = audit.clean_purpose(purpose, required=purpose_required)
                await audit.note(connection, "read", reviewer.identifier, subjects, purpose=said)
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
        """As `open_element`, for who has opened the thread for review within a day; None for anybody else.

        Raises:
            BlobError: the bytes are there but cannot be read now.
        """
        element = await self._element_for_review(thread_id, element_id)
        if element is None or element.object_key is None:
            return None
        try:
            return element, await self.blobs.open(element.object_key, start, end)
        except BlobNotFound:
            return None

    async def element_link_for_review(self, thread_id: str, element_id: str, seconds: int) -> str | None:
        """As `element_link`, for who has opened the thread for review within a day; None for anybody else.

        Raises:
            BlobError: it cannot be made now.
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
        """Give the acting reviewer's verdict, or change it; reviewer, thread and times in the record do not count.

        Raises:
            NotFound: there is no such answer.
            InvalidRecord: the label is empty or too long.
            Forbidden: nobody acts, but the system.
        """
        said, now = review_verdicts.clean(verdict), utc_now()

        kept = await self._write_as_reviewer(
            lambda connection, reviewer: review_verdicts.put(connection, self._dialect, said, reviewer.named, now)
        )
        self.review_follower.note()
        return kept

    async def remove_verdict(self, step_id: str) -> bool:
        """Take the acting reviewer's verdict back; whether there was one."""
        known, now = clean_id(step_id, "step id"), utc_now()
        return await self._write_as_reviewer(
            lambda connection, reviewer: review_verdicts.remove(
                connection, self._dialect, known, reviewer.named[0], now
            )
        )

    async def verdict_history(self, thread_id: str) -> list[VerdictChange]:
        """All that reviewers ever said of the answers in a thread, oldest first."""
        known = clean_id(thread_id, "thread id")
        return await self._read_as_reviewer(lambda connection, _: review_verdicts.history(connection, known))

    # The audit

    async def list_audit(
        self, *, actor: str | None = None, thread_id: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> AuditPage:
        """The whole audit, newest first, or what one did, or what was done with one thread. For admins.

        Raises:
            Forbidden: the acting user is no admin.
            InvalidRecord: the page is empty, or the cursor is none.
        """
        conditions = [] if actor is None else [audit_entries.c.actor == clean_text(actor)]
        conditions += [] if thread_id is None else [audit_entries.c.subjectId == clean_id(thread_id, "thread id")]

        return await self._read_as_reviewer(
            lambda connection, _: audit.page(connection, conditions, cursor=cursor, limit=limit), access.ADMINS
        )
