"""The inbox: the answers that match the filters in the URL, and saved views of it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from datalayer import AlreadyExists
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.review import AnswerCount, AnswerFilter, SavedView
from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import Reviewer
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.cursors import cursor_of
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidField, InvalidInput, PageRoute
from threadkeeper.web.pages.forms import Form, page_of_form, redirect_to
from threadkeeper.web.pages.sentences import Say, speaker
from threadkeeper.web.pages.zone import Zone
from threadkeeper.web.review.addresses import known_or_404
from threadkeeper.web.review.label_names import label_name
from threadkeeper.web.review.policy import Policy
from threadkeeper.web.review.query import ME, ReviewQuery, demand_order, read_review_query

ROWS_A_PAGE = 50
MOST_COUNTED = 10_000
_MOST_IN_A_PILL = 1_000
# The built-in views, with their parameters in the URL.
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
    """A link to a view; `count` is None where the number of answers is not shown."""

    name: str
    address: str
    is_chosen: bool
    count: str | None = None


router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/review")
async def read_inbox(
    *, request: Request, person: Reviewer, layer: Layer, pages: Pages, policy: Policy, zone: Zone
) -> Response:
    query = read_review_query(request.query_params, zone, me=person.identifier, may_be_reversed=True)
    say = speaker(request)
    cursor = cursor_of(request.query_params)
    values = await inbox(layer, query, person, policy, say, cursor=cursor)
    frame = {"query": query, "cursor": cursor, "rows_a_page": ROWS_A_PAGE}
    named = {"named": label_name(say), "reasons": policy.reasons}
    return pages.page(request, "review/inbox.html", {**frame, **named, **values}, person=person, zone=zone)


@router.post("/review/views", dependencies=[page_of_form("/review", query="query")])
async def save_view(person: Reviewer, form: Form, layer: Layer, zone: Zone) -> Response:
    query = read_review_query(form.one("query", longest=8_000), zone, me=person.identifier)
    name = form.one("name", longest=200).strip()
    if not name:
        raise InvalidField("name", "bad_name")
    try:
        await layer.put_view(name, query.text, is_shared=form.one("shared") == "yes")
    except AlreadyExists:
        raise InvalidField("name", "view_is_there", name=name) from None
    return redirect_to(query.address("/review"))


@router.post("/review/views/{view_id}/remove")
async def remove_view(_person: Reviewer, _form: Form, layer: Layer, view_id: str) -> Response:
    await layer.remove_view(known_or_404(view_id))
    return redirect_to("/review")


async def inbox(
    layer: ChainlitLayer, query: ReviewQuery, person: Person, policy: ReviewPolicy, say: Say, *, cursor: str | None
) -> dict[str, Any]:
    """The variables of the template."""
    # Where opening a thread needs a purpose, the list shows no contents.
    excerpts = not policy.asks_purpose
    found = await layer.list_answers(query.which, cursor=cursor, limit=ROWS_A_PAGE, excerpts=excerpts)
    count = await layer.count_answers(query.which, most=MOST_COUNTED)
    facets = await layer.answer_facets()
    views = await layer.list_views()
    facets["labels"] = list(dict.fromkeys((*policy.labels, *facets["labels"])))
    if not any(_says(view, query) for view in views):
        # A saved view stays usable, so that its owner can open and remove it.
        demand_order(query.which)
        await refuse_unknown(layer, query, (*facets["labels"], *facets["reasons"], *policy.reasons))
    return {
        "found": found,
        "is_behind": layer.answer_follower.is_behind,
        "texts_left": max(found.texts_left, count.texts_left),
        "count": counted(count, say),
        "facets": facets,
        "pills": await _pills(layer, query, person, say),
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


async def refuse_unknown(layer: ChainlitLayer, query: ReviewQuery, known: Collection[str]) -> None:
    """Check the labels and reasons of the filter.

    Raises:
        InvalidInput: one is neither known nor stored with any answer.
    """
    asked = [(value, AnswerFilter(labels=(value,))) for value in query.which.labels]
    asked += [(value, AnswerFilter(reasons=(value,))) for value in query.which.reasons]
    for value, which in asked:
        if value not in known and not (await layer.count_answers(which, most=1)).count:
            raise InvalidInput("bad_choice", value=value[:60])


def counted(count: AnswerCount, say: Say) -> str:
    return f"{formats.count(count.count, say)}{'+' if count.is_more else ''}"


async def _pills(layer: ChainlitLayer, query: ReviewQuery, person: Person, say: Say) -> list[Pill]:
    counts = {
        "view_down": AnswerFilter(thumb="down", is_reviewed=False),
        "view_mine": AnswerFilter(assigned_to=person.identifier),
    }
    pills = []
    for name, chosen in VIEWS:
        which = counts.get(name)
        number = None if which is None else counted(await layer.count_answers(which, most=_MOST_IN_A_PILL), say)
        wanted = {key: (value,) for key, value in chosen.items()}
        address = "/review" + ("?" + "&".join(f"{key}={value}" for key, value in chosen.items()) if chosen else "")
        pills.append(Pill(name, address, dict(query.parameters) == wanted, number))
    return pills


def _says(view: SavedView, query: ReviewQuery) -> bool:
    return bool(view.query) and view.query == query.text
