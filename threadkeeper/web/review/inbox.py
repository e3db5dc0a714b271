"""The inbox: which answers there are, by filters that stand in the address."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from datalayer import AlreadyExists
from datalayer.cleaning import clean_text
from datalayer.records.review import AnswerCount, AnswerFilter, SavedView
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import Reviewer
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.forms import Form
from threadkeeper.web.pages.shell import BadAddress, Pages, speaker
from threadkeeper.web.review.addresses import known_or_gone, to
from threadkeeper.web.review.query import ME, ReviewQuery, read_review_query
from threadkeeper.web.review.reader import ReviewReader
from threadkeeper.web.review.words import label_name
from threadkeeper.web.usage.query import ZONE_COOKIE, zone_of

ROWS_A_PAGE = 50
MOST_COUNTED = 10_000
_MOST_IN_A_PILL = 1_000
_LONGEST_CURSOR = 2_000
# The views that everyone has, and what they say in an address.
VIEWS: tuple[tuple[str, dict[str, str]], ...] = (
    ("view_all", {}),
    ("view_down", {"thumb": "down", "reviewed": "no"}),
    ("view_mine", {"assigned": ME}),
    ("view_unreviewed", {"reviewed": "no"}),
    ("view_error", {"error": "yes"}),
    ("view_flagged", {"flagged": "yes"}),
)


@dataclass(frozen=True, slots=True)
class Pill:
    """A view to choose; `count` where it is worth to know before."""

    name: str
    address: str
    is_chosen: bool
    count: str | None = None


def inbox_router(layer: Callable[[], ReviewReader], pages: Pages, policy: ReviewPolicy) -> APIRouter:
    """The inbox, and the views that are saved of it.

    Args:
        layer: gives the data layer.
        pages: writes the pages.
        policy: what the operator decides.
    """
    router = APIRouter(route_class=pages.route())

    @router.get("/review", include_in_schema=False)
    async def read_inbox(request: Request, person: Reviewer) -> Response:
        zone = zone_of(request.cookies.get(ZONE_COOKIE, ""), pages.time_zone)
        query, say = read_review_query(request.query_params, zone, me=person.identifier), speaker(request)
        cursor = request.query_params.get("cursor") or None
        if cursor and len(cursor) > _LONGEST_CURSOR:
            raise BadAddress("bad_cursor")
        values = await inbox(layer(), query, person, policy, cursor=cursor and clean_text(cursor))
        frame = {"query": query, "cursor": cursor, "rows_a_page": ROWS_A_PAGE, "formats": formats, "zone": zone.key}
        named = {"named": label_name(say), "reasons": policy.reasons}
        return pages.page(request, "review/inbox.html", {**frame, **named, **values}, person=person)

    @router.post("/review/views", include_in_schema=False)
    async def save_view(request: Request, person: Reviewer, form: Form) -> Response:
        zone = zone_of(request.cookies.get(ZONE_COOKIE, ""), pages.time_zone)
        query = read_review_query(form.one("query", longest=8_000), zone, me=person.identifier)
        name = form.one("name", longest=200).strip()
        if not name:
            raise BadAddress("bad_name")
        try:
            await layer().put_view(name, query.text, is_shared=form.one("shared") == "yes")
        except AlreadyExists:
            raise BadAddress("view_is_there", name=name) from None
        return to(query.address("/review"))

    @router.post("/review/views/{view_id}/remove", include_in_schema=False)
    async def remove_view(person: Reviewer, form: Form, view_id: str) -> Response:  # noqa: ARG001  they are demanded
        await layer().remove_view(known_or_gone(view_id))
        return to("/review")

    return router


async def inbox(
    layer: ReviewReader, query: ReviewQuery, person: Person, policy: ReviewPolicy, *, cursor: str | None
) -> dict[str, Any]:
    """The values of the page's template."""
    # Where a thread opens for a purpose alone, the list says nothing of what is in it.
    excerpts = not policy.asks_purpose
    found = await layer.list_answers(query.which, cursor=cursor, limit=ROWS_A_PAGE, excerpts=excerpts)
    count = await layer.count_answers(query.which, most=MOST_COUNTED)
    facets = await layer.answer_facets()
    views = await layer.list_views()
    facets["labels"] = list(dict.fromkeys((*policy.labels, *facets["labels"])))
    if not any(_says(view, query) for view in views):
        # Who saved a view can still open it, and remove it.
        await refuse_unknown(layer, query, (*facets["labels"], *facets["reasons"], *policy.reasons))
    return {
        "found": found,
        "count": counted(count),
        "facets": facets,
        "pills": await _pills(layer, query, person),
        "views": [(view, f"/review?{view.query}" if view.query else "/review") for view in views],
        "chosen_view": next((view for view in views if _says(view, query)), None),
        "chips": [
            (name, value, query.without("/review", name, value))
            for name in query.parameters
            for value in query.parameters[name]
        ],
        "me": person.identifier,
        "excerpts": excerpts,
    }


async def refuse_unknown(layer: ReviewReader, query: ReviewQuery, known: Collection[str]) -> None:
    """See that each label and reason is one that is known, or that somebody gave once.

    Raises:
        BadAddress: one is neither.
    """
    asked = [(value, AnswerFilter(labels=(value,))) for value in query.which.labels]
    asked += [(value, AnswerFilter(reasons=(value,))) for value in query.which.reasons]
    for value, which in asked:
        if value not in known and not (await layer.count_answers(which, most=1)).count:
            raise BadAddress("bad_choice", value=value[:60])


def counted(count: AnswerCount) -> str:
    return f"{count.count:,}+" if count.is_more else f"{count.count:,}"


async def _pills(layer: ReviewReader, query: ReviewQuery, person: Person) -> list[Pill]:
    counts = {
        "view_down": AnswerFilter(thumb="down", is_reviewed=False),
        "view_mine": AnswerFilter(assigned_to=person.identifier),
    }
    pills = []
    for name, chosen in VIEWS:
        which = counts.get(name)
        number = None if which is None else counted(await layer.count_answers(which, most=_MOST_IN_A_PILL))
        wanted = {key: (value,) for key, value in chosen.items()}
        address = "/review" + ("?" + "&".join(f"{key}={value}" for key, value in chosen.items()) if chosen else "")
        pills.append(Pill(name, address, dict(query.parameters) == wanted, number))
    return pills


def _says(view: SavedView, query: ReviewQuery) -> bool:
    return bool(view.query) and view.query == query.text
