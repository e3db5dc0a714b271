"""The queue: answers to review, their reviewers, and progress. An answer is never given to two reviewers at once."""

from fastapi import APIRouter, Request, Response

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web.auth.roles import Reviewer
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import PageRoute
from threadkeeper.web.pages.forms import Form, page_of_form, redirect_to
from threadkeeper.web.pages.zone import Zone
from threadkeeper.web.review.addresses import item_address
from threadkeeper.web.review.notices import NOTICES
from threadkeeper.web.review.policy import Policy

ITEMS_SHOWN = 100
MOST_WANTED = 20
_PAGE = "/review/queue"

router = APIRouter(prefix=_PAGE, route_class=PageRoute, include_in_schema=False)


@router.get("")
async def read_queue(
    *, request: Request, person: Reviewer, layer: Layer, pages: Pages, policy: Policy, zone: Zone
) -> Response:
    values = {
        # Where opening a thread needs a purpose, the list shows no contents.
        "open_items": await layer.list_queue(limit=ITEMS_SHOWN, excerpts=not policy.asks_purpose),
        "progress": await layer.review_progress(),
        "is_behind": layer.answer_follower.is_behind,
        "policy": policy,
        "most_items": ITEMS_SHOWN,
        "most_wanted": MOST_WANTED,
        "outcome": NOTICES.read(request),
        "now": utc_now(),
        "me": person.identifier,
    }
    return NOTICES.clear(request, pages.page(request, "review/queue.html", values, person=person, zone=zone))


@router.post("/fill", dependencies=[page_of_form(_PAGE)])
async def fill_queue(request: Request, _person: Reviewer, form: Form, layer: Layer) -> Response:
    percent = form.number("percent", least=0, most=100)
    wanted = int(form.number("wanted", least=1, most=MOST_WANTED))
    added = await layer.fill_queue(percent=percent, wanted=wanted)
    return NOTICES.set(request, redirect_to(_PAGE), "filled", added.thumbs_down, added.sample)


@router.post("/next")
async def take_next(request: Request, _person: Reviewer, _form: Form, layer: Layer, policy: Policy) -> Response:
    return await redirect_to_next(request, layer, policy)


@router.post("/release")
async def release(request: Request, _person: Reviewer, form: Form, layer: Layer) -> Response:
    await layer.release_item(form.one("step_id", longest=100))
    return NOTICES.set(request, redirect_to(_PAGE), "released")


@router.post("/keep")
async def keep(_person: Reviewer, form: Form, layer: Layer, policy: Policy) -> Response:
    step_id, thread_id = form.one("step_id", longest=100), form.one("thread_id", longest=100)
    await layer.keep_lock(step_id, lock_seconds=policy.lock_seconds)
    return redirect_to(item_address(thread_id, step_id))


async def redirect_to_next(request: Request, layer: ChainlitLayer, policy: ReviewPolicy) -> Response:
    """Redirect to the answer that is locked for this reviewer, else to the next one, else to the queue."""
    item = await layer.take_next(lock_seconds=policy.lock_seconds)
    if item is None:
        return NOTICES.set(request, redirect_to(_PAGE), "empty")
    return redirect_to(item_address(item.thread_id, item.step_id))
