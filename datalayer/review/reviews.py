"""The review console's data: answers to look through, verdicts, numbers, exports, the audit, and what users see of it.

Who acts (`acting_user`) must be a reviewer or an admin by the role in their account, which `review_access` asks in the
transaction of a write and before a read; the system may do whatever needs no name. Another person's thread is never
read before the audit has its row.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.blobs import OpenBlob
from datalayer.chainlit_dicts import whole_thread_dict_of
from datalayer.cleaning import clean_id, clean_text, clean_time, known_id, utc_in, utc_now
from datalayer.errors import BlobNotFound, InvalidRecord
from datalayer.history import feedback as votes
from datalayer.history import thread_reads, users
from datalayer.ownership import SYSTEM, acting_user
from datalayer.periods import periods
from datalayer.records.chat import Element
from datalayer.records.review import (
    Agreement,
    AnswerCount,
    AnswerFilter,
    AnswerPage,
    AuditPage,
    Coverage,
    ReviewedAnswer,
    ReviewThread,
    Satisfaction,
    Verdict,
    VerdictChange,
    WordCount,
)
from datalayer.records.usage import Interval
from datalayer.review import access, audit, exports, inbox, statistics
from datalayer.review import thread as review_thread
from datalayer.review import verdicts as review_verdicts
from datalayer.review.filters import chosen
from datalayer.review.retention import Retention
from datalayer.review.work import ReviewWork
from datalayer.schema.review import audit_entries, verdicts

T = TypeVar("T")

OPENED_FOR_SECONDS = 24 * 3600.0
"""So long after a thread was opened for review its files may be read."""
BAD_LABELS = ("wrong", "unsafe", "unclear")
MOST_WORDS = 1_000


class Reviews(ReviewWork, Retention):
    """What reviewers read and say. Methods raise Forbidden where the acting user is no reviewer, unless they say so."""

    # Answers

    async def list_answers(
        self, which: AnswerFilter, *, cursor: str | None = None, limit: int = 50, excerpts: bool = True
    ) -> AnswerPage:
        """A page of the answers, newest first; it begins behind the cursor that the page before gave.

        Args:
            excerpts: whether rows show how question and answer begin, the comment and the title: where to open a
                thread asks for a purpose, no list should tell what is in it.
            limit: how many at most; never more than `review_inbox.LARGEST_PAGE`.

        Raises:
            InvalidRecord: the page is empty, the cursor is none, or a time of the filter is none.
        """
        return await self._looked_through(
            which,
            lambda connection: inbox.page(
                connection, self.database, which, cursor=cursor, limit=limit, excerpts=excerpts
            ),
        )

    async def count_answers(self, which: AnswerFilter, *, most: int = 10_000) -> AnswerCount:
        """How many answers there are; no more than `most` are counted.

        Raises:
            InvalidRecord: a time of the filter is none.
        """
        return await self._looked_through(
            which, lambda connection: inbox.count(connection, self.database, which, most=most)
        )

    async def answer_facets(self) -> dict[str, list[str]]:
        """What there is to choose from: "assistants", "models", "labels", "tags", "reasons" and "reviewers"."""
        return await self._looked_through(AnswerFilter(), inbox.facets)

    # One thread

    async def open_thread_for_review(
        self, thread_id: str, *, purpose: str | None = None, purpose_required: bool = False
    ) -> ReviewThread | None:
        """The thread with all that is said of it; None where there is none. One's own leaves no row in the audit.

        Another's copy leaves one for whom it was copied from as well.

        Raises:
            InvalidRecord: a purpose is required and none is given, or it is too long.
        """
        actor, known = acting_user.get(), known_id(thread_id)

        async def note(connection: AsyncConnection) -> bool:
            reviewer = await access.demand(connection, actor)
            if known is None or not (await audit.owner_of(connection, known))[0]:
                return False
            if subjects := await audit.subjects_of(connection, known, reviewer.id):
                said = audit.clean_purpose(purpose, required=purpose_required)
                await audit.note(connection, "read", reviewer.identifier, subjects, purpose=said)
            return True

        if not await self._writer.submit(note) or known is None:
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

    # Verdicts

    async def put_verdict(self, verdict: Verdict) -> Verdict:
        """Give the acting reviewer's verdict, or change it; reviewer, thread and times in the record do not count.

        Raises:
            NotFound: there is no such answer.
            InvalidRecord: the label is empty or too long.
            Forbidden: nobody acts, but the system.
        """
        actor, said, now = acting_user.get(), review_verdicts.clean(verdict), utc_now()

        async def put(connection: AsyncConnection) -> Verdict:
            reviewer = (await access.demand(connection, actor)).named
            return await review_verdicts.put(connection, self._dialect, said, reviewer, now)

        kept: Verdict = await self._writer.submit(put)
        self.answer_follower.note()
        return kept

    async def remove_verdict(self, step_id: str) -> bool:
        """Take the acting reviewer's verdict back; whether there was one."""
        actor, known, now = acting_user.get(), clean_id(step_id, "step id"), utc_now()

        async def remove(connection: AsyncConnection) -> bool:
            reviewer_id, _ = (await access.demand(connection, actor)).named
            return await review_verdicts.remove(connection, self._dialect, known, reviewer_id, now)

        return bool(await self._writer.submit(remove))

    async def verdict_history(self, thread_id: str) -> list[VerdictChange]:
        """All that reviewers ever said of the answers in a thread, oldest first."""
        known = clean_id(thread_id, "thread id")
        return await self._as_reviewer(lambda connection: review_verdicts.history(connection, known))

    # Numbers

    async def satisfaction(
        self, since: str, until: str, interval: Interval, zone: str, *, split_by: str | None = None
    ) -> list[Satisfaction]:
        """The thumbs in each interval of a time zone, in order and without a gap.

        Args:
            split_by: "assistant" or "model": a row for each in every interval.

        Raises:
            InvalidRecord: a time is none, there is no such interval or zone, or there would be too many.
        """
        begin, end = clean_time(since, "begin"), clean_time(until, "end")
        if begin is None or end is None:
            raise InvalidRecord("a series has a begin and an end")
        pieces = periods(begin, end, interval, zone)
        return await self._looked_through(
            AnswerFilter(), lambda connection: statistics.satisfaction(connection, pieces, split_by)
        )

    async def coverage(self, which: AnswerFilter, *, by: str | None = None) -> list[Coverage]:
        """How many answers have a verdict, and which; told apart by "assistant" or "model".

        Raises:
            InvalidRecord: a time of the filter is none, or there is nothing of the name to tell them apart by.
        """

        async def count(connection: AsyncConnection) -> list[Coverage]:
            condition = (await chosen(connection, self.database, which)).condition
            return await statistics.coverage(connection, condition, by)

        return await self._looked_through(which, count)

    async def agreement(self, *, since: str | None = None, until: str | None = None) -> Agreement:
        """How far those agree who judged the same answers, of verdicts from `since` to before `until`.

        Raises:
            InvalidRecord: a time is none.
        """
        begin, end = clean_time(since, "begin"), clean_time(until, "end")
        conditions = [] if begin is None else [verdicts.c.updatedAt >= begin]
        conditions += [] if end is None else [verdicts.c.updatedAt < end]
        return await self._as_reviewer(lambda connection: review_verdicts.agreement(connection, conditions))

    async def words_in_bad_answers(
        self, which: AnswerFilter, *, bad_labels: Sequence[str] = BAD_LABELS, limit: int = 50
    ) -> list[WordCount]:
        """The words that are far more common in bad answers than in others, those with the largest difference first.

        Bad are answers with a thumb down or a verdict of one of the labels. The latest of each are looked at
        (`review_numbers.LOOKED_AT`).

        Raises:
            InvalidRecord: a time of the filter is none.
        """
        labels, most = [clean_text(label) for label in bad_labels], min(limit, MOST_WORDS)

        async def count(connection: AsyncConnection) -> list[WordCount]:
            condition = (await chosen(connection, self.database, which)).condition
            return await statistics.words_in_bad(connection, self._dialect, condition, bad_labels=labels, limit=most)

        await self.search_indexer.caught_up()
        return await self._looked_through(which, count)

    # Exports: each leaves a row in the audit for each thread of another that it gives out, before it does

    def export_conversations(
        self, which: AnswerFilter, *, pseudonym_key: bytes | None = None, purpose: str | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """The threads that have an answer the filter lets through, whole, with votes and verdicts.

        Args:
            pseudonym_key: with it, users are named by pseudonyms that are the same for the same key.
        """
        return self._export(which, exports.conversation, pseudonym_key, purpose)

    def export_pairs(
        self,
        which: AnswerFilter,
        *,
        pseudonym_key: bytes | None = None,
        purpose: str | None = None,
        bad_labels: Collection[str] = BAD_LABELS,
    ) -> AsyncIterator[dict[str, Any]]:
        """Pairs of a chosen and a rejected answer to one prompt; `source` says who chose.

        "verdict": a reviewer wrote the better one; "run": a better run was linked; "retry": the user had it made anew,
        and nobody gave that one a thumb down or a verdict of one of the bad labels.
        """
        return self._export(which, exports.pairs, pseudonym_key, purpose, bad_labels)

    def export_fine_tuning(
        self,
        which: AnswerFilter,
        *,
        pseudonym_key: bytes | None = None,
        purpose: str | None = None,
        bad_labels: Collection[str] = BAD_LABELS,
    ) -> AsyncIterator[dict[str, Any]]:
        """Threads as examples to train on, in the usual form of chats; better answers stand for the given ones.

        Failures, answers that were stopped or cut, those with a thumb down and those with a verdict of one of the bad
        labels are no examples unless there is a better answer.
        """
        return self._export(which, exports.fine_tuning, pseudonym_key, purpose, bad_labels)

    # For users themselves

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

    async def list_audit(
        self, *, actor: str | None = None, thread_id: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> AuditPage:
        """The whole audit, newest first, or what one did, or what was done with one thread. For admins.

        Raises:
            Forbidden: the acting user is no admin.
            InvalidRecord: the page is empty, or the cursor is none.
        """
        asking = acting_user.get()
        conditions = [] if actor is None else [audit_entries.c.actor == clean_text(actor)]
        conditions += [] if thread_id is None else [audit_entries.c.subjectId == clean_id(thread_id, "thread id")]

        async def find(connection: AsyncConnection) -> AuditPage:
            await access.demand(connection, asking, access.ADMINS)
            return await audit.page(connection, conditions, cursor=cursor, limit=limit)

        return await self.database.query(find)

    # What the methods above share

    async def _looked_through(self, which: AnswerFilter, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What a reviewer finds, once all that was written before is among the answers."""
        await self._as_reviewer(_nothing)
        await self._writer.settled()
        await self.answer_follower.caught_up()
        if which.words:
            await self.search_indexer.caught_up()
        return await self.database.query(work)

    def _export(
        self,
        which: AnswerFilter,
        form: exports.Form,
        pseudonym_key: bytes | None,
        purpose: str | None,
        bad_labels: Collection[str] = (),
    ) -> AsyncIterator[dict[str, Any]]:
        # Not in the generator, which begins to run when somebody reads it: whoever acts then is perhaps not who asked.
        actor, said = acting_user.get(), audit.clean_purpose(purpose)

        async def stream() -> AsyncIterator[dict[str, Any]]:
            await self._writer.settled()
            await self.answer_follower.caught_up()
            if which.words:
                await self.search_indexer.caught_up()
            found = exports.export(
                self.database,
                which,
                form,
                actor=actor,
                pseudonym_key=pseudonym_key,
                purpose=said,
                bad_labels=bad_labels,
            )
            async for one in found:
                yield one

        return stream()

    async def _element_for_review(self, thread_id: str, element_id: str) -> Element | None:
        actor, known = acting_user.get(), known_id(thread_id)
        since = utc_in(-OPENED_FOR_SECONDS)

        async def has_opened(connection: AsyncConnection) -> bool:
            reviewer = await access.demand(connection, actor)
            return await audit.has_read(connection, reviewer.identifier, known or "", since)

        if known is None or not await self.database.query(has_opened):
            return None
        return await self._element(known, element_id, SYSTEM)


async def _nothing(_connection: AsyncConnection) -> None:
    """To ask for the role alone."""
