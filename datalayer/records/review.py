"""What reviewers work with: answers to look through, verdicts, a queue, an audit; frozen records, as in `records`.

An answer is a message of the assistant in its thread. Reviewers and users are named by their identifiers, times are UTC
texts as everywhere, money is US dollars as `Decimal`, durations are seconds.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

Thumb = Literal["up", "down", "none"]
"""What users said of an answer: "down" where any did, "none" where nobody said anything."""

ItemReason = Literal["thumbs_down", "sample", "chosen"]
"""Why an answer is in the queue: users disliked it, the sample fell on it, or somebody put it there."""

MarkKind = Literal["pin", "flag"]
"""Either exempts a thread from retention. Its owner and reviewers pin; reviewers flag."""

AuditAction = Literal["read", "read_call", "read_file", "export", "take_over", "retention"]

RetentionClass = Literal["threads", "files", "payloads", "audit"]


@dataclass(frozen=True, slots=True)
class AnswerFilter:
    """Which answers; a field that is None or empty says nothing.

    `since` and `until` are of the answer's time, the end excluded. `words` must all be in one text or the title of its
    thread. `assigned_to` is the identifier of a reviewer who has it in the queue and has not done it. `is_reviewed`
    asks whether anybody has given a verdict, `labels` for verdicts of these labels.
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


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An answer as a list shows it.

    `question` and `answer` are their beginnings, of `EXCERPT` characters at most. `cost` is None where it is unknown.
    `comment` is that of the latest vote that has one. `verdicts` counts the reviewers who judged it. One that is gone
    from its thread, by an edit of its question mostly, is shown with the question as it was asked then.
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


@dataclass(frozen=True, slots=True)
class AnswerPage:
    """Some answers, newest first, and the cursor to give for those after the last of them; None at the end.

    `is_partial` says that the words are in more texts than are looked through, so that some answers are missing.
    """

    rows: tuple[AnswerRow, ...]
    next_cursor: str | None
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class AnswerCount:
    """How many answers; where there are more than were counted, `is_more`."""

    count: int
    is_more: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one reviewer says of an answer. `better_answer` is what it should have been."""

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
    """What a verdict was from `changed_at` on, until its next change; without a label it was taken back then."""

    step_id: str
    reviewer: str | None
    label: str | None
    reasons: tuple[str, ...]
    note: str | None
    better_answer: str | None
    changed_at: str


@dataclass(frozen=True, slots=True)
class Vote:
    """A user's thumb on a step (1 is up, 0 is down), with what they said to it; of a step that is gone, the last."""

    step_id: str
    value: int
    comment: str | None
    reasons: tuple[str, ...]
    user: str | None
    updated_at: str | None


@dataclass(frozen=True, slots=True)
class StepVersion:
    """A message as it was until `replaced_at`, when it was edited, or removed because what is before it was.

    `parent_id` is that of one which was removed: mostly its run.
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
    """What the calls to models for one step came to; None is unknown."""

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
    """Where a thread that was taken over comes from; with a better run, the step in it that answers better."""

    thread_id: str
    original_id: str
    original_step_id: str | None
    reviewer: str | None
    created_at: str
    better_step_id: str | None = None
    linked_at: str | None = None


@dataclass(frozen=True, slots=True)
class CopiedAnswer:
    """An answer in a copy of a thread, of which `excerpt` is the beginning."""

    step_id: str
    thread_id: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class ThreadMark:
    """A pin or a flag on a thread."""

    thread_id: str
    kind: MarkKind
    note: str | None
    by: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class ReviewThread:
    """A thread with all that a reviewer sees of it. `thread` is Chainlit's ThreadDict, steps and elements in order."""

    thread: dict[str, Any]
    votes: tuple[Vote, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    versions: tuple[StepVersion, ...] = ()
    usage: tuple[StepUsage, ...] = ()
    marks: tuple[ThreadMark, ...] = ()
    origin: ThreadOrigin | None = None
    """Of what it is a copy itself."""
    copies: tuple[ThreadOrigin, ...] = ()
    """Its copies, with the better runs among them."""


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """An answer in the queue. It is open until it has verdicts of as many reviewers as are `wanted`.

    `user` is whose thread it is in. `question` is how the question begins, where that was asked for.
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
    """How many answers came into the queue: those with a thumb down, and those that the sample fell on."""

    thumbs_down: int
    sample: int


@dataclass(frozen=True, slots=True)
class ReviewerProgress:
    """What a reviewer has done and has before them. A row without a reviewer counts items assigned to nobody."""

    reviewer: str | None
    done: int
    open: int
    locked: int
    verdicts: int


@dataclass(frozen=True, slots=True)
class SavedView:
    """A filter under a name; `query` is the part of the URL that says it. A shared one is seen by every reviewer."""

    id: str
    name: str
    query: str
    owner: str | None
    is_shared: bool
    created_at: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what with whose thread, when and why.

    `actor` is None for the system itself. `owner_id` is the id of the user whose thread it was. `details` holds ids
    and counts, and nothing of what anybody wrote.
    """

    id: int
    at: str
    action: AuditAction
    actor: str | None
    thread_id: str | None
    owner_id: str | None
    purpose: str | None
    details: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some entries, newest first, and the cursor to give for those after the last of them; None at the end."""

    entries: tuple[AuditEntry, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ReviewedAnswer:
    """That an answer was reviewed, for its user: when last, and by how many. Not by whom, nor with which verdict."""

    step_id: str
    reviewed_at: str
    reviewers: int


# Numbers


@dataclass(frozen=True, slots=True)
class Satisfaction:
    """Thumbs on the answers from `start` to before `end`, of one assistant or model where they are split."""

    start: str
    end: str
    value: str | None
    answers: int
    up: int
    down: int

    @property
    def share(self) -> float | None:
        """The part of the thumbs that are up, from 0 to 1; None without thumbs."""
        return self.up / (self.up + self.down) if self.up + self.down else None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of the answers, and of those with a thumb down, have a verdict; of one assistant or model."""

    value: str | None
    answers: int
    reviewed: int
    down: int
    down_reviewed: int
    labels: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two reviewers on the answers that both judged."""

    first: str
    second: str
    answers: int
    agreed: int
    kappa: float | None
    """Cohen's; None where chance alone would have them agree always."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the reviewers of one answer say the same, over the answers that more than one judged."""

    answers: int
    verdicts: int
    agreed: float | None
    """The part of the pairs of verdicts on one answer that agree, from 0 to 1."""
    kappa: float | None
    """Fleiss', for answers judged by any number; None where chance alone would have them agree always."""
    pairs: tuple[PairAgreement, ...]


@dataclass(frozen=True, slots=True)
class WordCount:
    """In how many bad answers, and in how many others, of those that were looked at, a word is.

    Of the bad ones `down` have a thumb down, and the rest a bad verdict alone.
    """

    word: str
    bad: int
    others: int
    down: int


# Retention


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What of one class would go: what was last touched before this time and is neither pinned nor flagged."""

    kind: RetentionClass
    before: str
    count: int
    exempt: int
    byte_size: int | None = None


@dataclass(frozen=True, slots=True)
class RetentionReceipt:
    """What of one class is gone: rows of each table, threads by id, files by key, and those that the store kept."""

    kind: RetentionClass
    before: str
    applied_at: str
    applied_by: str | None
    rows: dict[str, int]
    threads: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    files_left: tuple[str, ...] = ()
