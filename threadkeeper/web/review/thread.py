"""A thread under review: as its user saw it, once it is said why it is opened where the operator asks for that.

The layer asks for the role once more, in the transaction that does the work, and writes the audit.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer.cleaning import utc_now
from datalayer.records.review import CopiedAnswer, ReviewItem, ReviewThread, ThreadOrigin, VerdictChange
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web.auth.roles import Reviewer
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.forms import Form
from threadkeeper.web.pages.shell import BadAddress, Pages, speaker
from threadkeeper.web.review import purposes
from threadkeeper.web.review.addresses import is_own, known_or_gone, thread_address, to
from threadkeeper.web.review.notices import kept_notice, told
from threadkeeper.web.review.paging import ThreadPage, page_of
from threadkeeper.web.review.reader import ReviewReader
from threadkeeper.web.review.transcript import ShownThread, shown_thread
from threadkeeper.web.review.words import label_name
from threadkeeper.web.usage.query import ZONE_COOKIE, zone_of

# So many answers of one thread in the queue are known here; those that one holds oneself are listed first.
_MOST_ITEMS = 1_000
# So many of one's copies of a thread are shown, the latest.
_MOST_COPIES = 10


def thread_router(layer: Callable[[], ReviewReader], pages: Pages, policy: ReviewPolicy) -> APIRouter:
    """The page of a thread, and the one that asks for a purpose.

    Args:
        layer: gives the data layer.
        pages: writes the pages.
        policy: what the operator decides.
    """
    router = APIRouter(route_class=pages.route())

    @router.get("/review/threads/{thread_id}", include_in_schema=False)
    async def read_thread(request: Request, person: Reviewer, thread_id: str) -> Response:
        known, purpose = known_or_gone(thread_id), purposes.said_purpose(request)
        back = request.query_params.get("back", "")[:8_000]
        if policy.asks_purpose and purpose is None and not await is_own(layer(), person, known):
            asked = {name: request.query_params.get(name, "")[:100] for name in ("answer", "queue", "page")}
            values = {"thread_id": known, "back": back, **asked}
            return pages.page(request, "review/purpose.html", values, person=person)
        found = await layer().open_thread_for_review(known, purpose=purpose, purpose_required=policy.asks_purpose)
        if found is None:
            raise HTTPException(404)
        say, zone = speaker(request), zone_of(request.cookies.get(ZONE_COOKIE, ""), pages.time_zone)
        wanted, number = request.query_params.get("answer", ""), request.query_params.get("page", "")
        # Apart, as the rendering below: what others wrote may be long, and the server has others to answer.
        shown, part = await asyncio.to_thread(_laid_out, found, wanted, number)
        mine = [one for one in found.copies if one.reviewer == person.identifier and one.better_step_id is None]
        facets = await layer().answer_facets()
        from_queue, notice = bool(request.query_params.get("queue")), kept_notice(request)
        held = await _held_of(layer(), known)
        item = next((one for one in held.values() if from_queue and one.locked_by == person.identifier), None)
        shows = {
            "item": item,
            "from_queue": from_queue,
            "held": held,
            "saved": notice[1] if notice[0] == "saved" and len(notice) > 1 else "",
            "found": found,
            "thread": found.thread,
            "shown": shown,
            "part": part,
            "history": await _history_of(layer(), known),
            "copies": await _with_answers(layer(), mine[-_MOST_COPIES:]),
            "is_own": found.thread["userIdentifier"] == person.identifier,
            "wanted": wanted,
            "back": back,
            "me": person.identifier,
            "policy": policy,
            "reviewers": facets["reviewers"],
            "named": label_name(say),
            "formats": formats,
            "reader_zone": zone,
            "zone": zone.key,
        }
        response = await asyncio.to_thread(pages.page, request, "review/thread.html", shows, person=person, judges=True)
        return told(request, response)

    @router.post("/review/threads/{thread_id}/open", include_in_schema=False)
    async def open_for_a_purpose(request: Request, person: Reviewer, form: Form, thread_id: str) -> Response:  # noqa: ARG001
        known, purpose = known_or_gone(thread_id), form.one("purpose", longest=purposes.LONGEST).strip()
        if not purpose:
            raise BadAddress("bad_purpose")
        response = to(thread_address(known, form))
        purposes.keep_purpose(request, response, known, purpose)
        return response

    return router


def _laid_out(found: ReviewThread, wanted: str, number: str) -> tuple[ShownThread, ThreadPage]:
    shown = shown_thread(found)
    return shown, page_of(shown.messages, wanted, number)


async def _held_of(layer: ReviewReader, thread_id: str) -> dict[str, ReviewItem]:
    """What of the thread somebody has open from the queue now, by the id of the answer."""
    now = utc_now()
    items = await layer.list_queue(limit=_MOST_ITEMS, thread_id=thread_id)
    return {one.step_id: one for one in items if one.locked_by and one.locked_until and one.locked_until > now}


async def _with_answers(
    layer: ReviewReader, copies: Sequence[ThreadOrigin]
) -> list[tuple[ThreadOrigin, list[CopiedAnswer]]]:
    """The acting reviewer's copies, each with its latest answers."""
    answers: dict[str, list[CopiedAnswer]] = defaultdict(list)
    if copies:
        for answer in await layer.answers_of_copies([one.thread_id for one in copies]):
            answers[answer.thread_id].append(answer)
    return [(one, answers[one.thread_id]) for one in copies]


async def _history_of(layer: ReviewReader, thread_id: str) -> dict[str, list[VerdictChange]]:
    """All that reviewers ever said of each answer."""
    changes: dict[str, list[VerdictChange]] = defaultdict(list)
    for change in await layer.verdict_history(thread_id):
        changes[change.step_id].append(change)
    return changes
