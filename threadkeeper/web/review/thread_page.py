"""A thread under review: as its user saw it, once it is said why it is opened where the operator asks for that.

The layer asks for the role once more, in the transaction that does the work, and writes the audit.
"""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from threadkeeper.web.pages.forms import Form
from threadkeeper.web.pages.roles import Reviewer
from threadkeeper.web.pages.shell import BadAddress, Pages, speaker
from threadkeeper.web.review import purposes
from threadkeeper.web.review.addresses import is_own, known_or_gone, thread_address, to
from threadkeeper.web.review.policy import ReviewPolicy
from threadkeeper.web.review.reader import ReviewReader
from threadkeeper.web.review.thread import shown_thread
from threadkeeper.web.review.words import label_name
from threadkeeper.web.usage import formats
from threadkeeper.web.usage.query import ZONE_COOKIE, zone_of

# So many items a reviewer may hold at once for each to be known here: those that one holds are listed first.
_MOST_HELD = 50


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
            asked = {"answer": request.query_params.get("answer", ""), "queue": request.query_params.get("queue", "")}
            values = {"thread_id": known, "back": back, **asked}
            return pages.page(request, "review/purpose.html", values, person=person)
        found = await layer().open_thread_for_review(known, purpose=purpose, purpose_required=policy.asks_purpose)
        if found is None:
            raise HTTPException(404)
        say, zone = speaker(request), zone_of(request.cookies.get(ZONE_COOKIE, ""), pages.time_zone)
        shown = shown_thread(found)
        mine = [one for one in found.copies if one.reviewer == person.identifier and one.thread_id != known]
        copies = [(one, await _answers_of(layer(), one.thread_id)) for one in mine if one.better_step_id is None]
        facets = await layer().answer_facets()
        history = {one.id: await layer().verdict_history(one.id) for one in shown.answers if one.verdicts}
        item = None
        if request.query_params.get("queue"):
            items = await layer().list_queue(limit=_MOST_HELD)
            item = next((one for one in items if one.thread_id == known and one.locked_by == person.identifier), None)
        shows = {
            "item": item,
            "found": found,
            "thread": found.thread,
            "shown": shown,
            "history": history,
            "copies": copies,
            "is_own": found.thread["userIdentifier"] == person.identifier,
            "wanted": request.query_params.get("answer", ""),
            "back": back,
            "me": person.identifier,
            "policy": policy,
            "reviewers": facets["reviewers"],
            "named": label_name(say),
            "formats": formats,
            "reader_zone": zone,
            "zone": zone.key,
        }
        return pages.page(request, "review/thread.html", shows, person=person, judges=True)

    @router.post("/review/threads/{thread_id}/open", include_in_schema=False)
    async def open_for_a_purpose(request: Request, person: Reviewer, form: Form, thread_id: str) -> Response:  # noqa: ARG001
        known, purpose = known_or_gone(thread_id), form.one("purpose", longest=purposes.LONGEST).strip()
        if not purpose:
            raise BadAddress("bad_purpose")
        response = to(thread_address(known, form))
        purposes.keep_purpose(request, response, known, purpose)
        return response

    return router


async def _answers_of(layer: ReviewReader, thread_id: str) -> list[dict[str, Any]]:
    """The answers in the acting reviewer's own copy, the latest first."""
    thread = await layer.get_thread(thread_id)
    steps = thread["steps"] if thread else []
    return [step for step in reversed(steps) if step["type"] == "assistant_message" and step["output"]]
