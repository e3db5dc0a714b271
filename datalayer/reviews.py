"""The review console's data: answers to look through, verdicts, the queue, copies, numbers, exports, the audit.

Who acts (`acting_user`) must be a reviewer or an admin by the role in their account, which is asked in the transaction
that does the work; the system may do whatever needs no name. See `review_access`, the one place that decides it.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

from datalayer.blobs import OpenBlob
from datalayer.guarded import GuardedStore
from datalayer.records import Element
from datalayer.review_records import (
    Agreement,
    AnswerCount,
    AnswerFilter,
    AnswerPage,
    AuditPage,
    Coverage,
    ItemReason,
    MarkKind,
    RetentionClass,
    RetentionPlan,
    RetentionReceipt,
    ReviewedAnswer,
    ReviewerProgress,
    ReviewItem,
    ReviewThread,
    Sampled,
    Satisfaction,
    SavedView,
    ThreadMark,
    ThreadOrigin,
    Verdict,
    VerdictChange,
    WordCount,
)
from datalayer.usage_records import Interval


class Reviews(GuardedStore):
    """What reviewers do. Methods raise Forbidden where the acting user is no reviewer."""

    # Answers

    async def list_answers(self, which: AnswerFilter, *, cursor: str | None = None, limit: int = 50) -> AnswerPage: ...
    async def count_answers(self, which: AnswerFilter, *, most: int = 10_000) -> AnswerCount: ...
    async def answer_facets(self) -> dict[str, list[str]]:
        """What there is to choose from: "assistants", "models", "reasons", "tags", "labels", "reviewers"."""

    async def open_thread_for_review(
        self, thread_id: str, *, purpose: str | None = None, purpose_required: bool = False
    ) -> ReviewThread | None:
        """None where there is no such thread. Leaves an audit row first. InvalidRecord without a required purpose."""

    async def open_element_for_review(
        self, thread_id: str, element_id: str, start: int = 0, end: int | None = None
    ) -> tuple[Element, OpenBlob] | None:
        """As `open_element`, for who has opened the thread for review within a day; None otherwise."""

    async def element_link_for_review(self, thread_id: str, element_id: str, seconds: int) -> str | None: ...

    # Verdicts

    async def put_verdict(self, verdict: Verdict) -> Verdict:
        """Of the acting reviewer; reviewer, thread and times in the record are not looked at."""

    async def remove_verdict(self, step_id: str) -> bool: ...
    async def verdict_history(self, step_id: str) -> list[VerdictChange]: ...

    # Numbers

    async def satisfaction(
        self, since: str, until: str, interval: Interval, zone: str, *, split_by: str | None = None
    ) -> list[Satisfaction]:
        """`split_by` "assistant" or "model"."""

    async def coverage(self, which: AnswerFilter, *, by: str | None = None) -> list[Coverage]: ...
    async def agreement(self, *, since: str | None = None, until: str | None = None) -> Agreement: ...
    async def words_in_bad_answers(self, which: AnswerFilter, *, limit: int = 50) -> list[WordCount]: ...

    # The queue

    async def fill_queue(
        self, *, percent: float, since: str | None = None, until: str | None = None, wanted: int = 1
    ) -> Sampled: ...
    async def enqueue_answers(
        self, step_ids: Collection[str], *, reviewer: str | None = None, wanted: int = 1, reason: ItemReason = "chosen"
    ) -> int:
        """Put answers into the queue, or change to whom they are assigned; gives how many."""

    async def take_next(self, *, lock_seconds: float = 1800, other_than: Collection[str] = ()) -> ReviewItem | None: ...
    async def keep_lock(self, step_id: str, *, lock_seconds: float = 1800) -> bool:
        """False where the lock is not (any more) the acting reviewer's."""

    async def release_item(self, step_id: str) -> bool: ...
    async def list_queue(self, *, is_done: bool = False, limit: int = 100) -> Sequence[ReviewItem]: ...
    async def review_progress(self, *, since: str | None = None) -> list[ReviewerProgress]: ...

    # Saved views, pins and flags

    async def list_views(self) -> list[SavedView]: ...
    async def put_view(self, name: str, query: str, *, is_shared: bool = False) -> SavedView: ...
    async def remove_view(self, view_id: str) -> bool: ...
    async def mark_thread(self, thread_id: str, kind: MarkKind, *, note: str | None = None) -> ThreadMark:
        """Pins are for the owner too; flags for reviewers."""

    async def unmark_thread(self, thread_id: str, kind: MarkKind) -> bool: ...

    # Taking over

    async def take_over(
        self, thread_id: str, *, step_id: str | None = None, purpose: str | None = None
    ) -> ThreadOrigin:
        """Copy the thread into the acting reviewer's own; `step_id` is the answer that is to be bettered."""

    async def link_better_run(
        self, copy_id: str, better_step_id: str, *, original_step_id: str | None = None
    ) -> None: ...

    # Exports: each leaves an audit row for each thread that it gives out, before it does

    def export_conversations(
        self, which: AnswerFilter, *, pseudonym_key: bytes | None = None, purpose: str | None = None
    ) -> AsyncIterator[dict[str, Any]]: ...
    def export_pairs(
        self, which: AnswerFilter, *, pseudonym_key: bytes | None = None, purpose: str | None = None
    ) -> AsyncIterator[dict[str, Any]]: ...
    def export_fine_tuning(
        self, which: AnswerFilter, *, pseudonym_key: bytes | None = None, purpose: str | None = None
    ) -> AsyncIterator[dict[str, Any]]: ...

    # For users themselves

    async def give_reasons(self, step_id: str, reasons: Sequence[str], comment: str | None = None) -> bool:
        """Why the acting user's thumb on this step is what it is; without a comment the one there stays."""

    async def reviewed_answers(self, thread_id: str) -> list[ReviewedAnswer]:
        """Of a thread that the acting user may read."""

    async def who_looked(self, *, cursor: str | None = None, limit: int = 50) -> AuditPage:
        """The audit of the acting user's own threads."""

    async def list_audit(
        self, *, actor: str | None = None, thread_id: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> AuditPage:
        """All of it, for admins and the system."""

    # Retention, for admins and the system

    async def plan_retention(self, before: dict[RetentionClass, str]) -> list[RetentionPlan]: ...
    async def apply_retention(self, before: dict[RetentionClass, str]) -> list[RetentionReceipt]: ...
