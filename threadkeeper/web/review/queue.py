"""The queue: what is to be judged, by whom, and how far everyone has come. Nobody is given what another has open."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from datalayer.cleaning import utc_now
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web.auth.roles import Reviewer
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.forms import Form
from threadkeeper.web.pages.shell import Pages
from threadkeeper.web.review.addresses import item_address, to
from threadkeeper.web.review.notices import keep_notice, kept_notice, told
from threadkeeper.web.review.reader import ReviewReader
from threadkeeper.web.usage.query import ZONE_COOKIE, zone_of

ITEMS_SHOWN = 100
_PAGE = "/review/queue"
MOST_WANTED = 20


def queue_router(layer: Callable[[], ReviewReader], pages: Pages, policy: ReviewPolicy) -> APIRouter:
    """The page of the queue, and what is posted from it.

    Args:
        layer: gives the data layer.
        pages: writes the pages.
        policy: what the operator decides.
    """
    router = APIRouter(route_class=pages.route())

    @router.get("/review/queue", include_in_schema=False)
    async def read_queue(request: Request, person: Reviewer) -> Response:
        zone = zone_of(request.cookies.get(ZONE_COOKIE, ""), pages.time_zone)
        values = {
            # Where a thread opens for a purpose alone, the list says nothing of what is in it.
            "open_items": await layer().list_queue(limit=ITEMS_SHOWN, excerpts=not policy.asks_purpose),
            "progress": await layer().review_progress(),
            "policy": policy,
            "most_items": ITEMS_SHOWN,
            "most_wanted": MOST_WANTED,
            "outcome": kept_notice(request),
            "now": utc_now(),
            "me": person.identifier,
            "formats": formats,
            "reader_zone": zone,
            "zone": zone.key,
        }
        return told(request, pages.page(request, "review/queue.html", values, person=person))

    @router.post("/review/queue/fill", include_in_schema=False)
    async def fill_queue(request: Request, person: Reviewer, form: Form) -> Response:  # noqa: ARG001  it is demanded
        percent = form.number("percent", least=0, most=100)
        wanted = int(form.number("wanted", least=1, most=MOST_WANTED))
        sampled = await layer().fill_queue(percent=percent, wanted=wanted)
        return keep_notice(request, to(_PAGE), "filled", sampled.thumbs_down, sampled.sample)

    @router.post("/review/queue/next", include_in_schema=False)
    async def take_next(request: Request, person: Reviewer, form: Form) -> Response:  # noqa: ARG001
        return await next_of_queue(request, layer(), policy)

    @router.post("/review/queue/release", include_in_schema=False)
    async def release(request: Request, person: Reviewer, form: Form) -> Response:  # noqa: ARG001
        await layer().release_item(form.one("step_id", longest=100))
        return keep_notice(request, to(_PAGE), "released")

    @router.post("/review/queue/keep", include_in_schema=False)
    async def keep(person: Reviewer, form: Form) -> Response:  # noqa: ARG001
        step_id, thread_id = form.one("step_id", longest=100), form.one("thread_id", longest=100)
        await layer().keep_lock(step_id, lock_seconds=policy.lock_seconds)
        return to(item_address(thread_id, step_id))

    return router


async def next_of_queue(request: Request, layer: ReviewReader, policy: ReviewPolicy) -> Response:
    """Leads to the answer that the acting reviewer has open, or to the next; where there is none, to the queue."""
    item = await layer.take_next(lock_seconds=policy.lock_seconds)
    if item is None:
        return keep_notice(request, to(_PAGE), "empty")
    return to(item_address(item.thread_id, item.step_id))
