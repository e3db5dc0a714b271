"""Reviews: find answers, open threads, give verdicts, take from the queue, and export; for reviewers and admins.

Opening and exporting threads of others adds the rows to the audit that the pages add.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from datalayer import InvalidRecord
from datalayer.cleaning import known_id
from datalayer.records.review import MarkKind, Verdict
from datalayer.review.queue_api import queue_cursor
from threadkeeper.web.api.access import ReviewCaller
from threadkeeper.web.api.answers_query import Answers
from threadkeeper.web.api.messages import messages_of
from threadkeeper.web.api.once import note_done, once_with
from threadkeeper.web.api.paging import Cursor, Limit
from threadkeeper.web.api.problems import Problem, invalid, not_found
from threadkeeper.web.api.review_shapes import (
    Added,
    AnswerList,
    GivenMark,
    GivenReviewer,
    GivenSample,
    GivenVerdict,
    QueueItem,
    QueueList,
    ReviewedThread,
    ShownVerdict,
    answers_of,
    item_of,
    reviewed_thread_of,
    verdict_of,
)
from threadkeeper.web.api.route import PREFIX, ApiRoute
from threadkeeper.web.api.shapes import LARGEST_PAGE
from threadkeeper.web.pages.dependencies import Layer
from threadkeeper.web.review.exports import INSTALL, export_of, writers
from threadkeeper.web.review.notices import LONGEST_PURPOSE
from threadkeeper.web.review.policy import Policy, needs_purpose

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)

Purpose = Annotated[
    str | None,
    Query(max_length=LONGEST_PURPOSE, description="Why; its owner sees it. Some servers require it."),
]


def _known_answer(answer_id: str) -> str:
    if known_id(answer_id) is None:
        raise not_found("answer")
    return answer_id


def _known_thread(thread_id: str) -> str:
    if known_id(thread_id) is None:
        raise not_found("thread")
    return thread_id


AnswerId = Annotated[str, Depends(_known_answer)]
ThreadId = Annotated[str, Depends(_known_thread)]
_FILE = {"schema": {"type": "string", "format": "binary"}}
TEXTS_LEFT = "X-Threadkeeper-Texts-Left"


@router.get("/reviews/answers")
async def list_answers(
    *, _caller: ReviewCaller, layer: Layer, policy: Policy, which: Answers, cursor: Cursor = None, limit: Limit = 20
) -> AnswerList:
    """The answers that match the filters, newest first. Where opening a thread needs a purpose, without contents."""
    found = await layer.list_answers(which, cursor=cursor, limit=limit, excerpts=not policy.asks_purpose)
    return answers_of(found)


@router.get("/reviews/threads/{thread_id}")
async def open_thread(
    caller: ReviewCaller, layer: Layer, policy: Policy, thread_id: str, purpose: Purpose = None
) -> ReviewedThread:
    """A thread with its messages, votes and verdicts. Reading another user's adds a row to the audit."""
    purpose = (purpose or "").strip() or None
    if purpose is None and await needs_purpose(policy, layer, caller.person, thread_id):
        raise invalid("query.purpose", "this server requires it")
    found = await layer.open_thread_for_review(thread_id, purpose=purpose, purpose_required=policy.asks_purpose)
    if found is None:
        raise not_found("thread")
    return reviewed_thread_of(found, messages_of(found.thread))


@router.put("/reviews/answers/{answer_id}/verdict")
async def judge(
    _caller: ReviewCaller, layer: Layer, policy: Policy, answer_id: AnswerId, given: GivenVerdict
) -> ShownVerdict:
    """Give a verdict on an answer, in place of one's earlier one."""
    if given.label not in policy.labels:
        raise invalid("body.label", f"it is not on offer: {', '.join(policy.labels)}")
    if unknown := [one for one in given.reasons if one not in policy.reasons]:
        raise invalid("body.reasons", f"{unknown[0][:60]!r} is not on offer: {', '.join(policy.reasons)}")
    better = given.better_answer if (given.better_answer or "").strip() else None
    note = (given.note or "").strip() or None
    kept = await layer.put_verdict(Verdict(answer_id, given.label, tuple(given.reasons), note, better))
    return verdict_of(kept)


@router.delete("/reviews/answers/{answer_id}/verdict", status_code=204)
async def withdraw_verdict(_caller: ReviewCaller, layer: Layer, answer_id: AnswerId) -> None:
    """Delete one's verdict on an answer. Its history is kept."""
    if not await layer.remove_verdict(answer_id):
        raise not_found("verdict")


@router.get("/reviews/queue")
async def read_queue(
    *, caller: ReviewCaller, layer: Layer, policy: Policy, cursor: Cursor = None, limit: Limit = LARGEST_PAGE
) -> QueueList:
    """The answers that wait for a verdict: those that one has taken first, then by age."""
    try:
        found = await layer.list_queue(limit=limit + 1, excerpts=not policy.asks_purpose, cursor=cursor)
    except InvalidRecord:
        raise invalid("query.cursor", "it is not the `next_cursor` of a page") from None
    following = queue_cursor(found[limit - 1], caller.identifier) if len(found) > limit else None
    return QueueList(data=[item_of(one) for one in found[:limit]], next_cursor=following)


@router.post("/reviews/queue/next", dependencies=[once_with("reviews", from_pages=False)])
async def take_next(request: Request, _caller: ReviewCaller, layer: Layer, policy: Policy) -> QueueItem:
    """Take the next answer of the queue, which no other reviewer gets meanwhile."""
    item = await layer.take_next(lock_seconds=policy.lock_seconds)
    if item is None:
        raise Problem(404, "queue-empty", "No answer waits for a verdict.")
    note_done(request)
    return item_of(item)


@router.post("/reviews/queue/fill", dependencies=[once_with("reviews", from_pages=False)])
async def fill_queue(request: Request, _caller: ReviewCaller, layer: Layer, given: GivenSample) -> Added:
    """Add every answer with a thumb down that nobody judged, and a sample of the others."""
    added = await layer.fill_queue(percent=given.percent, wanted=given.wanted)
    note_done(request)
    return Added(thumbs_down=added.thumbs_down, sample=added.sample)


@router.put("/reviews/answers/{answer_id}/assignment", status_code=204)
async def assign(_caller: ReviewCaller, layer: Layer, answer_id: AnswerId, given: GivenReviewer) -> None:
    """Add an answer to the queue, for this reviewer, or (null) for everyone."""
    if not await layer.enqueue_answers([answer_id], reviewer=given.reviewer):
        raise not_found("answer")


@router.put("/reviews/answers/{answer_id}/lock", status_code=204)
async def keep_lock(_caller: ReviewCaller, layer: Layer, policy: Policy, answer_id: AnswerId) -> None:
    """Keep an answer that was taken from the queue for longer."""
    if not await layer.keep_lock(answer_id, lock_seconds=policy.lock_seconds):
        raise not_found("lock")


@router.delete("/reviews/answers/{answer_id}/lock", status_code=204)
async def release(_caller: ReviewCaller, layer: Layer, answer_id: AnswerId) -> None:
    """Give back an answer that was taken from the queue."""
    if not await layer.release_item(answer_id):
        raise not_found("lock")


@router.put("/reviews/threads/{thread_id}/marks/{kind}", status_code=204)
async def mark(_caller: ReviewCaller, layer: Layer, thread_id: ThreadId, kind: MarkKind, given: GivenMark) -> None:
    """Pin or flag a thread, which keeps it from being deleted by its age."""
    await layer.mark_thread(thread_id, kind, note=(given.note or "").strip() or None)


@router.delete("/reviews/threads/{thread_id}/marks/{kind}", status_code=204)
async def unmark(_caller: ReviewCaller, layer: Layer, thread_id: ThreadId, kind: MarkKind) -> None:
    """Remove a pin or a flag."""
    if not await layer.unmark_thread(thread_id, kind):
        raise not_found("mark")


@router.get(
    "/reviews/exports/{kind}",
    response_class=Response,
    responses={
        200: {
            "content": {
                "application/jsonl": _FILE,
                "text/csv": _FILE,
                "application/vnd.apache.parquet": _FILE,
            },
            "headers": {TEXTS_LEFT: {"schema": {"type": "integer"}, "description": "As `texts_left` of the list."}},
        }
    },
)
async def export(
    *,
    _caller: ReviewCaller,
    layer: Layer,
    policy: Policy,
    which: Answers,
    kind: Literal["conversations", "pairs", "fine_tuning"],
    format: Annotated[Literal["jsonl", "csv", "parquet"], Query(description="Of the file.")] = "jsonl",  # noqa: A002
    purpose: Purpose = None,
) -> Response:
    """The threads, preference pairs or training examples of the answers that match the filters, as a file.

    Each thread of another user in it adds a row to the audit.
    """
    purpose = (purpose or "").strip() or None
    if policy.asks_purpose and purpose is None:
        raise invalid("query.purpose", "this server requires it")
    if format not in writers():
        raise invalid("query.format", f"this server cannot write it: {INSTALL['command']}")
    # Counted before: 0 means that the words, which are looked up later, find everything.
    left = {TEXTS_LEFT: str(await layer.search_indexer.all_left())} if which.words else {}
    download = await export_of(layer, policy, which, kind, format, purpose=purpose)
    if download is None:
        raise Problem(404, "export-empty", "No answer that matches the filters gives a record.", headers=left)
    download.headers.update(left)
    return download
