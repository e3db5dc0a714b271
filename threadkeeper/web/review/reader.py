"""What the pages of the review need of the data layer, which asks for the role of whoever acts itself."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, Protocol

from datalayer.records.review import (
    Agreement,
    AnswerCount,
    AnswerFilter,
    AnswerPage,
    AuditPage,
    CopiedAnswer,
    Coverage,
    ItemReason,
    MarkKind,
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
from datalayer.records.usage import Interval


class ReviewReader(Protocol):
    """Answers, verdicts, the queue, copies, numbers, exports and the audit."""

    async def list_answers(
        self, which: AnswerFilter, *, cursor: str | None = None, limit: int = 50, excerpts: bool = True
    ) -> AnswerPage: ...

    async def count_answers(self, which: AnswerFilter, *, most: int = 10_000) -> AnswerCount: ...

    async def answer_facets(self) -> dict[str, list[str]]: ...

    async def open_thread_for_review(
        self, thread_id: str, *, purpose: str | None = None, purpose_required: bool = False
    ) -> ReviewThread | None: ...

    async def put_verdict(self, verdict: Verdict) -> Verdict: ...

    async def remove_verdict(self, step_id: str) -> bool: ...

    async def verdict_history(self, thread_id: str) -> list[VerdictChange]: ...

    async def fill_queue(
        self, *, percent: float, since: str | None = None, until: str | None = None, wanted: int = 1
    ) -> Sampled: ...

    async def enqueue_answers(
        self, step_ids: Collection[str], *, reviewer: str | None = None, wanted: int = 1, reason: ItemReason = "chosen"
    ) -> int: ...

    async def take_next(self, *, lock_seconds: float = 1800, other_than: Collection[str] = ()) -> ReviewItem | None: ...

    async def keep_lock(self, step_id: str, *, lock_seconds: float = 1800) -> bool: ...

    async def release_item(self, step_id: str) -> bool: ...

    async def list_queue(
        self, *, is_done: bool = False, limit: int = 100, thread_id: str | None = None, excerpts: bool = False
    ) -> list[ReviewItem]: ...

    async def review_progress(self, *, since: str | None = None) -> list[ReviewerProgress]: ...

    async def list_views(self) -> list[SavedView]: ...

    async def put_view(self, name: str, query: str, *, is_shared: bool = False) -> SavedView: ...

    async def remove_view(self, view_id: str) -> bool: ...

    async def mark_thread(self, thread_id: str, kind: MarkKind, *, note: str | None = None) -> ThreadMark: ...

    async def unmark_thread(self, thread_id: str, kind: MarkKind) -> bool: ...

    async def take_over(
        self,
        thread_id: str,
        *,
        step_id: str | None = None,
        purpose: str | None = None,
        purpose_required: bool = False,
        title_ending: str = "",
    ) -> ThreadOrigin: ...

    async def answers_of_copies(self, copy_ids: Collection[str]) -> list[CopiedAnswer]: ...

    async def link_better_run(
        self, copy_id: str, better_step_id: str, *, original_step_id: str | None = None
    ) -> None: ...

    async def satisfaction(
        self, since: str, until: str, interval: Interval, zone: str, *, split_by: str | None = None
    ) -> list[Satisfaction]: ...

    async def coverage(self, which: AnswerFilter, *, by: str | None = None) -> list[Coverage]: ...

    async def agreement(self, *, since: str | None = None, until: str | None = None) -> Agreement: ...

    async def words_in_bad_answers(
        self, which: AnswerFilter, *, bad_labels: Sequence[str] = (), limit: int = 50
    ) -> list[WordCount]: ...

    def export_conversations(
        self, which: AnswerFilter, *, pseudonym_key: bytes | None = None, purpose: str | None = None
    ) -> AsyncIterator[dict[str, Any]]: ...

    def export_pairs(
        self,
        which: AnswerFilter,
        *,
        pseudonym_key: bytes | None = None,
        purpose: str | None = None,
        bad_labels: Collection[str] = (),
    ) -> AsyncIterator[dict[str, Any]]: ...

    def export_fine_tuning(
        self,
        which: AnswerFilter,
        *,
        pseudonym_key: bytes | None = None,
        purpose: str | None = None,
        bad_labels: Collection[str] = (),
    ) -> AsyncIterator[dict[str, Any]]: ...

    async def list_audit(
        self, *, actor: str | None = None, thread_id: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> AuditPage: ...

    async def get_thread_author(self, thread_id: str) -> str: ...
