"""The page of a thread under review, and the page that asks for a purpose before it.

The data layer checks the role again, in the transaction that does the work, and writes the audit.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.records.review import CopiedAnswer, ReviewItem, ReviewThread, ThreadOrigin, VerdictChange
from threadkeeper.web.auth.roles import Reviewer
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidField, PageRoute
from threadkeeper.web.pages.forms import Form, page_of_form, redirect_to
from threadkeeper.web.pages.sentences import speaker
from threadkeeper.web.pages.zone import Zone
from threadkeeper.web.review.addresses import known_or_404, thread_address
from threadkeeper.web.review.label_names import label_name
from threadkeeper.web.review.notices import (
    LONGEST_PURPOSE,
    NOTICES,
    read_purpose,
    set_purpose,
)
from threadkeeper.web.review.paging import ThreadPage, page_of
from threadkeeper.web.review.policy import Policy, needs_purpose
from threadkeeper.web.review.transcript import ShownThread, shown_thread

# The queued answers of a thread that are looked up; the reviewer's own locks come first.
_MOST_ITEMS = 1_000
# The latest copies of the thread that the reviewer made.
_MOST_COPIES = 10


router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/review/threads/{thread_id}")
async def read_thread(
    *, request: Request, person: Reviewer, layer: Layer, pages: Pages, policy: Policy, zone: Zone, thread_id: str
) -> Response:
    known, purpose = known_or_404(thread_id), read_purpose(request)
    back = request.query_params.get("back", "")[:8_000]
    if purpose is None and await needs_purpose(policy, layer, person, known):
        asked = {name: request.query_params.get(name, "")[:100] for name in ("answer", "queue", "page")}
        values = {"thread_id": known, "back": back, **asked}
        return pages.page(request, "review/purpose.html", values, person=person)
    found = await layer.open_thread_for_review(known, purpose=purpose, purpose_required=policy.asks_purpose)
    if found is None:
        raise HTTPException(404)
    wanted, number = request.query_params.get("answer", ""), request.query_params.get("page", "")
    # In a thread, as the rendering below: a long text must not block other requests.
    shown, part = await asyncio.to_thread(_laid_out, found, wanted, number)
    mine = [one for one in found.copies if one.reviewer == person.identifier and one.better_step_id is None]
    facets = await layer.answer_facets()
    from_queue, notice = bool(request.query_params.get("queue")), NOTICES.read(request)
    held = await _held_of(layer, known)
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
        "history": await _history_of(layer, known),
        "copies": await _with_answers(layer, mine[-_MOST_COPIES:]),
        "is_own": found.thread["userIdentifier"] == person.identifier,
        "wanted": wanted,
        "back": back,
        "me": person.identifier,
        "policy": policy,
        "reviewers": facets["reviewers"],
        "named": label_name(speaker(request)),
    }
    response = await asyncio.to_thread(
        pages.page, request, "review/thread.html", shows, person=person, zone=zone, judges=True
    )
    return NOTICES.clear(request, response)


@router.post("/review/threads/{thread_id}/open", dependencies=[page_of_form("/review/threads/{thread_id}")])
async def open_for_purpose(request: Request, _person: Reviewer, form: Form, thread_id: str) -> Response:
    known, purpose = known_or_404(thread_id), form.one("purpose", longest=LONGEST_PURPOSE).strip()
    if not purpose:
        raise InvalidField("purpose", "bad_purpose")
    response = redirect_to(thread_address(known, form))
    set_purpose(request, response, known, purpose)
    return response


def _laid_out(found: ReviewThread, wanted: str, number: str) -> tuple[ShownThread, ThreadPage]:
    shown = shown_thread(found)
    return shown, page_of(shown.messages, wanted, number)


async def _held_of(layer: ChainlitLayer, thread_id: str) -> dict[str, ReviewItem]:
    """The answers of the thread that are locked from the queue now, by the id of their step."""
    now = utc_now()
    items = await layer.list_queue(limit=_MOST_ITEMS, thread_id=thread_id)
    return {one.step_id: one for one in items if one.locked_by and one.locked_until and one.locked_until > now}


async def _with_answers(
    layer: ChainlitLayer, copies: Sequence[ThreadOrigin]
) -> list[tuple[ThreadOrigin, list[CopiedAnswer]]]:
    """The acting reviewer's copies, each with its latest answers."""
    answers: dict[str, list[CopiedAnswer]] = defaultdict(list)
    if copies:
        for answer in await layer.answers_of_copies([one.thread_id for one in copies]):
            answers[answer.thread_id].append(answer)
    return [(one, answers[one.thread_id]) for one in copies]


async def _history_of(layer: ChainlitLayer, thread_id: str) -> dict[str, list[VerdictChange]]:
    """All verdicts ever given, by the id of the answer."""
    changes: dict[str, list[VerdictChange]] = defaultdict(list)
    for change in await layer.verdict_history(thread_id):
        changes[change.step_id].append(change)
    return changes
