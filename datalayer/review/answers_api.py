"""Answers for reviewers: a list, a count, facets, statistics and exports."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_text, clean_time
from datalayer.errors import InvalidRecord
from datalayer.ownership import acting_user
from datalayer.periods import periods
from datalayer.records.review import Agreement, AnswerCount, AnswerFilter, AnswerPage, Coverage, Satisfaction, WordCount
from datalayer.records.usage import Interval
from datalayer.review import audit, exports, inbox, statistics
from datalayer.review import verdicts as review_verdicts
from datalayer.review.base import ReviewStore
from datalayer.review.filters import chosen
from datalayer.schema.review import verdicts

BAD_LABELS = ("wrong", "unsafe", "unclear")
MOST_WORDS = 1_000


class ReviewAnswers(ReviewStore):
    """What reviewers read of answers. Methods raise Forbidden where the acting user is no reviewer."""

    # Lists

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

    # Statistics

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
        return await self._read_as_reviewer(lambda connection, _: review_verdicts.agreement(connection, conditions))

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

        await self.indexer.caught_up()
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
            await self.review_follower.caught_up()
            if which.words:
                await self.indexer.caught_up()
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
