"""Frozen records of the review: answers, verdicts, the queue, saved views, marks and statistics.

An answer is a message of the assistant in a thread. Reviewers and users are named by their identifiers. Times are UTC
texts (`YYYY-MM-DDTHH:MM:SS.ffffffZ`), costs are US dollars as `Decimal`, durations are seconds.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

Thumb = Literal["up", "down", "none"]
"""The votes on an answer: "down" if any vote is, otherwise "up", or "none" without votes."""

ItemReason = Literal["thumbs_down", "sample", "chosen"]
"""Why an answer is in the queue: it has a thumb down, was drawn for the sample, or was added by hand."""

MarkKind = Literal["pin", "flag"]
"""Both exempt a thread from retention. Reviewers set both; the owner sets pins."""


@dataclass(frozen=True, slots=True)
class AnswerFilter:
    """A filter of answers. All given fields must match; a field that is None or empty is ignored.

    The answer's time is from `since` to before `until`. All of `words` must occur in one text of the thread or in its
    title. `assigned_to` is the identifier of a reviewer who has the answer as an open item. `is_reviewed` is whether
    the answer has a verdict of any reviewer; `labels` are labels of its verdicts. `versions` are assistants with their
    version, as in `travel@3`; `is_unknown` is whether the answer is the text of an assistant that did not know.
    """

    thumb: Thumb | None = None
    has_comment: bool | None = None
    reasons: tuple[str, ...] = ()
    assistants: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    min_cost: Decimal | None = None
    max_cost: Decimal | None = None
    is_error: bool | None = None
    is_reviewed: bool | None = None
    labels: tuple[str, ...] = ()
    assigned_to: str | None = None
    is_flagged: bool | None = None
    words: str | None = None
    versions: tuple[str, ...] = ()
    is_unknown: bool | None = None


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An answer in a list.

    `question` and `answer` are the first 300 characters. `cost` is None if it is unknown. `comment` is that of the
    latest vote with a comment. `verdicts` is the number of reviewers with a verdict. An answer that was removed from
    its thread (usually because its question was edited) has the question as it was when the answer was given.
    """

    step_id: str
    thread_id: str
    created_at: str
    thread_name: str | None = None
    user: str | None = None
    tags: tuple[str, ...] = ()
    question: str | None = None
    answer: str | None = None
    thumb: Thumb = "none"
    comment: str | None = None
    reasons: tuple[str, ...] = ()
    assistant: str | None = None
    model: str | None = None
    tokens: int | None = None
    cost: Decimal | None = None
    seconds: float | None = None
    is_error: bool = False
    verdicts: int = 0
    assigned_to: str | None = None
    is_flagged: bool = False
    is_removed: bool = False
    version: str | None = None
    is_unknown: bool = False


@dataclass(frozen=True, slots=True)
class AnswerPage:
    """A page of answers, newest first. `next_cursor` is the cursor of the next page; None on the last page.

    If `is_partial`, the filter's words are in more than 2,000 threads, and the answers of the others are missing.
    `texts_left` is the number of texts that the filter's words could not find yet; 0 without words.
    """

    rows: tuple[AnswerRow, ...]
    next_cursor: str | None
    is_partial: bool = False
    texts_left: int = 0


@dataclass(frozen=True, slots=True)
class AnswerCount:
    """The number of answers. If `is_more`, counting stopped there. `texts_left` as in `AnswerPage`."""

    count: int
    is_more: bool
    texts_left: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One reviewer's verdict on an answer. `better_answer` is the reviewer's correction."""

    step_id: str
    label: str
    reasons: tuple[str, ...] = ()
    note: str | None = None
    better_answer: str | None = None
    thread_id: str | None = None
    reviewer: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """A verdict as it was from `changed_at` until its next change. Without a label, it was deleted then."""

    step_id: str
    reviewer: str | None
    label: str | None
    reasons: tuple[str, ...]
    note: str | None
    better_answer: str | None
    changed_at: str


@dataclass(frozen=True, slots=True)
class Vote:
    """A user's vote on a step: 1 is up, 0 is down. On a removed step it is the last vote."""

    step_id: str
    value: int
    comment: str | None
    reasons: tuple[str, ...]
    user: str | None
    updated_at: str | None


@dataclass(frozen=True, slots=True)
class StepVersion:
    """A message as it was until `replaced_at`, when it was edited, or removed because an earlier message was edited.

    Removed messages have a `parent_id`: usually that of their run. The thought of a removed answer is one as well, with
    the type `datalayer.thought.THOUGHT_TYPE`.
    """

    step_id: str
    change: Literal["edited", "removed"]
    type: str
    name: str
    output: str
    created_at: str | None
    replaced_at: str
    parent_id: str | None = None


@dataclass(frozen=True, slots=True)
class StepUsage:
    """The usage of all model calls of one step; None is unknown."""

    step_id: str
    model: str | None
    assistant: str | None
    calls: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: Decimal | None
    seconds: float | None
    first_token_seconds: float | None


@dataclass(frozen=True, slots=True)
class ThreadOrigin:
    """The origin of a copy: the original thread and the answer to improve; and the better answer, once it is linked."""

    thread_id: str
    original_id: str
    original_step_id: str | None
    reviewer: str | None
    created_at: str
    better_step_id: str | None = None
    linked_at: str | None = None


@dataclass(frozen=True, slots=True)
class CopiedAnswer:
    """An answer in a copy of a thread. `excerpt` is its first 100 characters."""

    step_id: str
    thread_id: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class ThreadMark:
    """A pin or a flag on a thread. `by` is the user who set it; None for the system and deleted users."""

    thread_id: str
    kind: MarkKind
    note: str | None
    by: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class ReviewThread:
    """A thread as a reviewer sees it. `thread` is Chainlit's `ThreadDict`, with steps and elements in order."""

    thread: dict[str, Any]
    votes: tuple[Vote, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    versions: tuple[StepVersion, ...] = ()
    usage: tuple[StepUsage, ...] = ()
    marks: tuple[ThreadMark, ...] = ()
    origin: ThreadOrigin | None = None
    """The thread's own origin, if it is a copy."""
    copies: tuple[ThreadOrigin, ...] = ()
    """Its copies, with linked better answers."""


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """An answer in the queue, open until it has verdicts of `wanted` reviewers.

    `user` is the thread's owner. `question` is the question's first 100 characters, if the caller asked for excerpts.
    """

    step_id: str
    thread_id: str
    reason: ItemReason
    created_at: str
    wanted: int = 1
    assigned_to: str | None = None
    locked_by: str | None = None
    locked_until: str | None = None
    done_at: str | None = None
    user: str | None = None
    question: str | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """The numbers of answers added to the queue: with a thumbs-down, and from the sample."""

    thumbs_down: int
    sample: int


@dataclass(frozen=True, slots=True)
class ReviewerProgress:
    """A reviewer's counts: finished items with their verdict, assigned open items, locked items, and verdicts.

    A row without a reviewer counts items that are assigned to nobody.
    """

    reviewer: str | None
    done: int
    open: int
    locked: int
    verdicts: int


@dataclass(frozen=True, slots=True)
class SavedView:
    """A named filter. `query` is the query string of the list's URL. Every reviewer sees a shared view."""

    id: str
    name: str
    query: str
    owner: str | None
    is_shared: bool
    created_at: str


@dataclass(frozen=True, slots=True)
class ReviewedAnswer:
    """For the user: that an answer was reviewed, when last, and by how many reviewers; no names and no verdicts."""

    step_id: str
    reviewed_at: str
    reviewers: int


# Statistics
