"""Answers for reviewers: lists, counts, filter values, statistics and exports."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_text, clean_time
from datalayer.errors import InvalidRecord
from datalayer.ownership import acting_user
from datalayer.periods import periods
from datalayer.records.review import AnswerCount, AnswerFilter, AnswerPage
from datalayer.records.review_statistics import Agreement, Coverage, Satisfaction, WordCount
from datalayer.records.usage import Interval
from datalayer.review import audit, exports, inbox, statistics
from datalayer.review import verdicts as review_verdicts
from datalayer.review.base import ReviewStore
from datalayer.review.filters import chosen
from datalayer.schema.review import verdicts

BAD_LABELS = ("wrong", "unsafe", "unclear")
"""The labels of verdicts that make an answer a bad one, unless the caller names others."""
MOST_WORDS = 1_000


class ReviewAnswers(ReviewStore):
    """Reads over many answers. Methods raise Forbidden if the acting user is no reviewer."""

    # Lists

    async def list_answers(
        self, which: AnswerFilter, *, cursor: str | None = None, limit: int = 50, excerpts: bool = True
    ) -> AnswerPage:
        """A page of answers, newest first. For example, unreviewed answers with a thumbs-down:

            page = await layer.list_answers(AnswerFilter(thumb="down", is_reviewed=False), limit=20)

        Args:
            which: the filter.
            cursor: `next_cursor` of the page before.
            limit: the page's size, at most 100.
            excerpts: whether rows contain the beginnings of question and answer, the comment and the thread's title.
                Without them the list reveals no content of threads, for sites where opening a thread needs a purpose.

        Raises:
            InvalidRecord: the limit is below 1, or the cursor or a time of the filter is not valid.
        """
        page, left = await self._searched(
            which,
            lambda connection: inbox.page(
                connection, self.database, which, cursor=cursor, limit=limit, excerpts=excerpts
            ),
        )
        return replace(page, texts_left=left)

    async def count_answers(self, which: AnswerFilter, *, most: int = 10_000) -> AnswerCount:
        """The number of answers. Counting stops at `most`; `is_more` is then true.

        Raises:
            InvalidRecord: a time of the filter is not valid.
        """
        count, left = await self._searched(
            which, lambda connection: inbox.count(connection, self.database, which, most=most)
        )
        return replace(count, texts_left=left)

    async def answer_facets(self) -> dict[str, list[str]]:
        """Sorted values to filter by.

        Keys: "assistants", "versions", "models", "labels", "tags", "reasons" and "reviewers".
        """
        return await self._looked_through(AnswerFilter(), inbox.facets)

    # Statistics

    async def satisfaction(
        self, since: str, until: str, interval: Interval, zone: str, *, split_by: str | None = None
    ) -> list[Satisfaction]:
        """Thumbs up and down per interval, in order and without gaps.

        Args:
            since: the first moment, ISO 8601.
            until: the moment after the last.
            interval: the length of an interval; days, weeks, months and years are those of the time zone.
            zone: a name such as "Europe/Berlin".
            split_by: "assistant" or "model": one row per interval and value.

        Raises:
            InvalidRecord: a time is missing or not valid, the interval, zone or split is unknown, or there are more
                than 3,000 intervals.
        """
        begin, end = clean_time(since, "begin"), clean_time(until, "end")
        if begin is None or end is None:
            raise InvalidRecord("`since` and `until` are required")
        pieces = periods(begin, end, interval, zone)
        return await self._looked_through(
            AnswerFilter(), lambda connection: statistics.satisfaction(connection, pieces, split_by)
        )

    async def coverage(self, which: AnswerFilter, *, by: str | None = None) -> list[Coverage]:
        """Numbers of answers with and without a verdict, and of verdicts per label; those with most answers first.

        Args:
            which: the filter.
            by: "assistant" or "model": one row per value; by default one row for all answers.

        Raises:
            InvalidRecord: a time of the filter is not valid, or `by` is unknown.
        """

        async def count(connection: AsyncConnection) -> list[Coverage]:
            condition = (await chosen(connection, self.database, which)).condition
            return await statistics.coverage(connection, condition, by)

        return await self._looked_through(which, count)

    async def agreement(self, *, since: str | None = None, until: str | None = None) -> Agreement:
        """Inter-rater agreement (share and kappa), over verdicts last changed from `since` to before `until`.

        Raises:
            InvalidRecord: a time is not valid.
        """
        begin, end = clean_time(since, "begin"), clean_time(until, "end")
        conditions = [] if begin is None else [verdicts.c.updatedAt >= begin]
        conditions += [] if end is None else [verdicts.c.updatedAt < end]
        return await self._read_as_reviewer(lambda connection, _: review_verdicts.agreement(connection, conditions))

    async def words_in_bad_answers(
        self, which: AnswerFilter, *, bad_labels: Sequence[str] = BAD_LABELS, limit: int = 50
    ) -> list[WordCount]:
        """Words that occur at least twice as often in bad answers as in the others, largest difference first.

        An answer is bad if it has a thumb down or a verdict with one of the labels. The latest 2,000 bad answers are
        compared with the latest 2,000 others.

        Args:
            which: the filter.
            bad_labels: the labels of bad verdicts.
            limit: how many words, at most 1,000.

        Raises:
            InvalidRecord: a time of the filter is not valid.
        """
        labels, most = [clean_text(label) for label in bad_labels], min(limit, MOST_WORDS)

        async def count(connection: AsyncConnection) -> list[WordCount]:
            condition = (await chosen(connection, self.database, which)).condition
            return await statistics.words_in_bad(connection, self._dialect, condition, bad_labels=labels, limit=most)

        return (await self._searched(which, count, by_words=True))[0]

    # Exports: the audit gets a row for each thread of another user before that thread is in the stream

    def export_conversations(
        self, which: AnswerFilter, *, pseudonym_key: bytes | None = None, purpose: str | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Stream the threads that have an answer that matches the filter, whole, with votes and verdicts.

        Each has the keys "id", "user", "name", "created_at", "tags", "assistant" and "messages": a list with the keys
        "id", "role" ("user", "assistant" or "system"), "content" and "created_at". Messages of the assistant also have
        "model", "assistant", "is_error", "votes" ("user", "value", "comment", "reasons", "updated_at") and "verdicts"
        ("reviewer", "label", "reasons", "note", "better_answer", "updated_at").

        Args:
            which: the filter.
            pseudonym_key: replaces user names by pseudonyms, which are the same for the same key.
            purpose: stored in the audit.

        Raises:
            InvalidRecord: at the call if the purpose is too long; in the stream if a time of the filter is not valid.
            Forbidden: in the stream, if the acting user of the call is no reviewer.
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
        """Stream preference pairs: a prompt, a chosen and a rejected answer. Raises as `export_conversations` does.

        Each has the keys "thread_id", "step_id", "user", "source", "prompt" (a list of {"role", "content"}), "chosen",
        "rejected" and "verdicts". The source is "verdict" (a reviewer wrote the better answer), "run" (a reviewer
        linked a better answer from a copy of the thread) or "retry" (the user regenerated the answer, and the new one
        has neither a thumb down nor a bad verdict).

        Args:
            which: the filter.
            pseudonym_key: replaces user names by pseudonyms, which are the same for the same key.
            purpose: stored in the audit.
            bad_labels: the labels of bad verdicts.
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
        """Stream threads as examples for fine-tuning, with better answers in place of the given ones.

        Each has the key "messages": a list of {"role", "content"}; messages of the assistant also have "weight", which
        is 1 for an example and 0 for context. An answer that failed, was stopped or cut off, or has a thumb down or a
        bad verdict is an example only if there is a better answer. Raises as `export_conversations` does.

        Args:
            which: the filter.
            pseudonym_key: not used, as no user is named; the same as in the other exports.
            purpose: stored in the audit.
            bad_labels: the labels of bad verdicts.
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
        # Read here and not in the generator, which starts at its first read: another user may be acting then.
        actor, cleaned_purpose = acting_user.get(), audit.clean_purpose(purpose)

        async def stream() -> AsyncIterator[dict[str, Any]]:
            await self._writer.settled()
            await self.answer_follower.caught_up()
            if which.words:
                await self.search_indexer.all_left()
            found = exports.export(
                self.database,
                which,
                form,
                actor=actor,
                pseudonym_key=pseudonym_key,
                purpose=cleaned_purpose,
                bad_labels=bad_labels,
            )
            async for one in found:
                yield one

        return stream()
