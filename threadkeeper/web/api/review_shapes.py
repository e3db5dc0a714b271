"""The shapes of the review, and how they are made of what the layer stores."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from datalayer.records.review import AnswerPage, AnswerRow, ReviewItem, ReviewThread, Verdict
from threadkeeper.web.api.shapes import MOST_TAGS, Message, Strict, Tag
from threadkeeper.web.api.usage_shapes import Money, money


class ReviewedAnswer(BaseModel):
    """An answer. `question` and `answer` are their beginnings, and null where opening a thread needs a purpose."""

    id: str
    thread_id: str
    created_at: str
    thread_name: str | None
    user: str | None
    tags: list[str]
    question: str | None
    answer: str | None
    thumb: Literal["up", "down", "none"]
    comment: str | None
    reasons: list[str]
    assistant: str | None
    version: str | None
    model: str | None
    tokens: int | None
    cost: Money | None
    seconds: float | None
    is_error: bool
    is_unknown: bool
    is_flagged: bool
    is_removed: bool
    verdicts: int
    assigned_to: str | None


class AnswerList(BaseModel):
    data: list[ReviewedAnswer]
    next_cursor: str | None
    is_partial: bool = Field(description="Whether the words are in so many threads that some are left out.")
    texts_left: int = Field(description="So many texts cannot be found yet by words: the index is being built.")


class GivenVerdict(Strict):
    label: Annotated[str, Field(min_length=1, max_length=100)]
    reasons: Annotated[list[Tag], Field(max_length=MOST_TAGS)] = Field(default_factory=list)
    note: Annotated[str, Field(max_length=10_000)] | None = None
    better_answer: Annotated[str, Field(max_length=100_000)] | None = None


class ShownVerdict(BaseModel):
    answer_id: str
    thread_id: str | None
    reviewer: str | None
    label: str
    reasons: list[str]
    note: str | None
    better_answer: str | None
    created_at: str | None
    updated_at: str | None


class UserVote(BaseModel):
    step_id: str
    user: str | None
    value: Literal["up", "down"]
    comment: str | None
    reasons: list[str]


class ReviewedThread(BaseModel):
    id: str
    name: str | None
    user: str | None
    created_at: str | None
    tags: list[str]
    messages: list[Message]
    votes: list[UserVote]
    verdicts: list[ShownVerdict]


class QueueItem(BaseModel):
    """An answer that waits for the verdicts of `wanted` reviewers. `question` is its beginning."""

    answer_id: str
    thread_id: str
    reason: Literal["thumbs_down", "sample", "chosen"]
    created_at: str
    wanted: int
    user: str | None
    question: str | None
    assigned_to: str | None
    locked_by: str | None
    locked_until: str | None


class GivenSample(Strict):
    percent: Annotated[float, Field(ge=0, le=100)] = Field(0, description="Of the other answers that nobody judged.")
    wanted: Annotated[int, Field(ge=1, le=20)] = Field(1, description="How many reviewers are to judge each.")


class Added(BaseModel):
    """How many answers were added to the queue."""

    thumbs_down: int
    sample: int


class GivenReviewer(Strict):
    reviewer: Annotated[str, Field(min_length=1, max_length=300)] | None


class GivenMark(Strict):
    note: Annotated[str, Field(max_length=500)] | None = None


class QueueList(BaseModel):
    data: list[QueueItem]
    next_cursor: str | None


def answer_of(row: AnswerRow) -> ReviewedAnswer:
    same = (
        *("thread_id", "created_at", "thread_name", "user", "question", "answer", "thumb", "comment", "assistant"),
        *("version", "model", "tokens", "seconds", "is_error", "is_unknown", "is_flagged", "is_removed", "verdicts"),
        "assigned_to",
    )
    return ReviewedAnswer(
        id=row.step_id,
        tags=list(row.tags),
        reasons=list(row.reasons),
        cost=money(row.cost),
        **{name: getattr(row, name) for name in same},
    )


def answers_of(page: AnswerPage) -> AnswerList:
    return AnswerList(
        data=[answer_of(row) for row in page.rows],
        next_cursor=page.next_cursor,
        is_partial=page.is_partial,
        texts_left=page.texts_left,
    )


def verdict_of(found: Verdict) -> ShownVerdict:
    same = ("thread_id", "reviewer", "label", "note", "better_answer", "created_at", "updated_at")
    return ShownVerdict(
        answer_id=found.step_id, reasons=list(found.reasons), **{name: getattr(found, name) for name in same}
    )


def reviewed_thread_of(found: ReviewThread, messages: list[Message]) -> ReviewedThread:
    thread = found.thread
    return ReviewedThread(
        id=thread["id"],
        name=thread.get("name") or None,
        user=thread.get("userIdentifier"),
        created_at=thread.get("createdAt"),
        tags=list(thread.get("tags") or ()),
        messages=messages,
        votes=[
            UserVote(
                step_id=one.step_id,
                user=one.user,
                value="up" if one.value else "down",
                comment=one.comment,
                reasons=list(one.reasons),
            )
            for one in found.votes
        ],
        verdicts=[verdict_of(one) for one in found.verdicts],
    )


def item_of(found: ReviewItem) -> QueueItem:
    same = ("thread_id", "reason", "created_at", "wanted", "user", "question", "assigned_to", "locked_by")
    return QueueItem(
        answer_id=found.step_id,
        locked_until=found.locked_until,
        **{name: getattr(found, name) for name in same},
    )
