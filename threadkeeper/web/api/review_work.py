"""The work of reviewers: copies of threads in which they write better answers, and saved views of the inbox."""

import zoneinfo
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from datalayer import AlreadyExists
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import known_id
from datalayer.records.review import SavedView
from datalayer.review.views import LONGEST_NAME, LONGEST_QUERY
from threadkeeper.web.api.access import Caller, ReviewCaller
from threadkeeper.web.api.once import note_done, once_with
from threadkeeper.web.api.paging import Cursor, Limit, page_of
from threadkeeper.web.api.problems import Problem, invalid, not_found
from threadkeeper.web.api.review_shapes import AnswerList, answers_of
from threadkeeper.web.api.route import PREFIX, ApiRoute, location_of
from threadkeeper.web.api.shapes import Strict
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidInput
from threadkeeper.web.pages.sentences import speaker
from threadkeeper.web.review.notices import LONGEST_PURPOSE
from threadkeeper.web.review.policy import Policy, needs_purpose
from threadkeeper.web.review.query import ReviewQuery, read_review_query

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)

Id = Annotated[str, Field(max_length=100)]


class GivenCopy(Strict):
    answer_id: Id | None = Field(None, description="The answer to improve; the copy ends with it.")
    purpose: Annotated[str, Field(max_length=LONGEST_PURPOSE)] | None = Field(
        None, description="Why; its owner sees it. Some servers require it."
    )


class ShownCopy(BaseModel):
    """A thread of the reviewer, copied from another one."""

    thread_id: str
    original_id: str
    original_answer_id: str | None
    created_at: str


class GivenBetterAnswer(Strict):
    answer_id: Id = Field(description="In the copy.")
    original_answer_id: Id | None = Field(None, description="That it improves; by default the one of the copy.")


class NewView(Strict):
    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    query: Annotated[str, Field(max_length=LONGEST_QUERY)] = Field(
        description="As in the address of `/review`: `thumb=down&reviewed=no`."
    )
    is_shared: bool = Field(default=False, description="Whether every reviewer sees it.")


class ShownView(BaseModel):
    id: str
    name: str
    query: str
    owner: str | None
    is_shared: bool
    created_at: str


class ViewPage(BaseModel):
    data: list[ShownView]
    next_cursor: str | None


@router.post(
    "/reviews/threads/{thread_id}/copy", status_code=201, dependencies=[once_with("reviews", from_pages=False)]
)
async def copy_thread(
    *,
    request: Request,
    caller: ReviewCaller,
    layer: Layer,
    policy: Policy,
    thread_id: str,
    given: GivenCopy,
    response: Response,
) -> ShownCopy:
    """Copy a thread to one's own, to go on in it. Its original stays as it is; adds a row to the audit."""
    purpose = (given.purpose or "").strip() or None
    if known_id(thread_id) is None:
        raise not_found("thread")
    if given.answer_id is not None and known_id(given.answer_id) is None:
        raise invalid("body.answer_id", "it is not the id of an answer")
    needed = await needs_purpose(policy, layer, caller.person, thread_id)
    if needed and purpose is None:
        raise invalid("body.purpose", "this server requires it")
    ending = speaker(request)("copy_ending")
    made = await layer.take_over(
        thread_id, step_id=given.answer_id, purpose=purpose, purpose_required=needed, title_ending=ending
    )
    note_done(request, made.thread_id)
    response.headers["Location"] = location_of(f"/threads/{made.thread_id}")
    return ShownCopy(
        thread_id=made.thread_id,
        original_id=made.original_id,
        original_answer_id=made.original_step_id,
        created_at=made.created_at,
    )


@router.put("/reviews/copies/{thread_id}/better-answer", status_code=204)
async def link_better_answer(_caller: ReviewCaller, layer: Layer, thread_id: str, given: GivenBetterAnswer) -> None:
    """Say which answer in one's own copy is better than the one in the original."""
    if known_id(thread_id) is None:
        raise not_found("thread")
    for name in ("answer_id", "original_answer_id"):
        if (named := getattr(given, name)) is not None and known_id(named) is None:
            raise invalid(f"body.{name}", "it is not the id of an answer")
    await layer.link_better_run(thread_id, given.answer_id, original_step_id=given.original_answer_id)


@router.get("/reviews/views")
async def list_views(_caller: ReviewCaller, layer: Layer, cursor: Cursor = None, limit: Limit = 20) -> ViewPage:
    """One's own saved views of the inbox and the shared ones of others, by name."""
    page, following = page_of(await layer.list_views(), lambda one: one.id, cursor, limit)
    return ViewPage(data=[_shown(one) for one in page], next_cursor=following)


@router.post("/reviews/views", status_code=201, dependencies=[once_with("reviews", from_pages=False)])
async def save_view(request: Request, caller: ReviewCaller, layer: Layer, pages: Pages, given: NewView) -> ShownView:
    """Save a view of the inbox."""
    if not given.name.strip():
        raise invalid("body.name", "it has no letter")
    query = _query_of(given.query, pages, caller, "body.query")
    try:
        made = await layer.put_view(given.name, query.text, is_shared=given.is_shared)
    except AlreadyExists:
        sentence = "You have a view of this name."
        raise Problem(409, "exists", sentence, [("body.name", "it is in use")]) from None
    note_done(request)
    return _shown(made)


@router.delete("/reviews/views/{view_id}", status_code=204)
async def remove_view(_caller: ReviewCaller, layer: Layer, view_id: str) -> None:
    """Remove one of one's own views."""
    if known_id(view_id) is None or not await layer.remove_view(view_id):
        raise not_found("view")


@router.get("/reviews/views/{view_id}/answers")
async def list_answers_of_view(
    *,
    caller: ReviewCaller,
    layer: Layer,
    policy: Policy,
    pages: Pages,
    view_id: str,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> AnswerList:
    """The answers that a saved view shows, as `GET /reviews/answers`."""
    view = await _view(layer, view_id)
    which = _query_of(view.query, pages, caller, "path.view_id").which
    found = await layer.list_answers(which, cursor=cursor, limit=limit, excerpts=not policy.asks_purpose)
    return answers_of(found)


async def _view(layer: ChainlitLayer, view_id: str) -> SavedView:
    found = next((one for one in await layer.list_views() if one.id == view_id), None)
    if found is None:
        raise not_found("view")
    return found


def _query_of(text: str, pages: Pages, caller: Caller, field: str) -> ReviewQuery:
    try:
        return read_review_query(text, zoneinfo.ZoneInfo(pages.time_zone), me=caller.identifier)
    except InvalidInput:
        raise invalid(field, "it is not the query of an address of /review") from None


def _shown(view: SavedView) -> ShownView:
    same = ("id", "name", "query", "owner", "is_shared", "created_at")
    return ShownView(**{name: getattr(view, name) for name in same})
