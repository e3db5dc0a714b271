"""The pages and exports at `/usage`. Users see their own calls, admins all."""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from datalayer import InvalidRecord
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import CallRow
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import LoggedIn, reading_usage, sees_all_usage
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.cursors import cursor_of
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.downloads import Download, attachment
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.periods import PERIODS, intervals_for
from threadkeeper.web.pages.sentences import Say, speaker
from threadkeeper.web.pages.zone import Zone
from threadkeeper.web.review.policy import Policy
from threadkeeper.web.usage import exports
from threadkeeper.web.usage.calls import one_call
from threadkeeper.web.usage.overview import overview
from threadkeeper.web.usage.portfolio import portfolio, visible_projects
from threadkeeper.web.usage.query import DIMENSIONS, Filter, UsageQuery, read_query

GROUP_ORDERS = ("cost", "calls", "failed", "tokens", "first_token", "speed", "name")
CALL_ORDERS = ("requested_at", "cost", "tokens", "seconds")
ROWS_A_PAGE = 50

Write = Callable[[AsyncIterator[CallRow]], AsyncIterator[bytes]]

router = APIRouter(include_in_schema=False)
screens = APIRouter(route_class=PageRoute, include_in_schema=False)


def _read(request: Request, person: Person, zone: ZoneInfo, orders: Sequence[str]) -> UsageQuery:
    dimensions = [one for one in DIMENSIONS if one != "user" or sees_all_usage(person)]
    return read_query(request.query_params, zone, dimensions=dimensions, orders=orders)


async def _groups_query(request: Request, person: LoggedIn, zone: Zone) -> UsageQuery:
    return _read(request, person, zone, GROUP_ORDERS)


async def _calls_query(request: Request, person: LoggedIn, zone: Zone) -> UsageQuery:
    return _read(request, person, zone, CALL_ORDERS)


GroupsQuery = Annotated[UsageQuery, Depends(_groups_query)]
CallsQuery = Annotated[UsageQuery, Depends(_calls_query)]


@screens.get("/usage")
async def read_usage(request: Request, person: LoggedIn, query: GroupsQuery, layer: Layer, pages: Pages) -> Response:
    say = speaker(request)
    cursor = cursor_of(request.query_params)
    with reading_usage(person):
        try:
            values = await overview(layer, query, say, cursor)
        except InvalidRecord:
            if cursor is None:
                raise
            raise InvalidInput("bad_cursor") from None
        frame = await _frame(layer, query, person, say)
    return pages.page(
        request,
        "usage/overview.html",
        {**frame, **values},
        person=person,
        zone=query.zone,
        draws=bool(values["charts"]),
    )


@screens.get("/usage/calls")
async def read_calls(request: Request, person: LoggedIn, query: CallsQuery, layer: Layer, pages: Pages) -> Response:
    say = speaker(request)
    cursor = cursor_of(request.query_params)
    ascending = request.query_params.get("direction") == "up"
    with reading_usage(person):
        found = await layer.list_calls(
            query.calls,
            order=query.order,
            descending=not ascending,
            cursor=cursor,
            limit=ROWS_A_PAGE,
        )
        frame = await _frame(layer, query, person, say)
    values = {"found": found, "ascending": ascending, "cursor": cursor, "rows_a_page": ROWS_A_PAGE}
    values["orders"] = CALL_ORDERS
    values["cost_of"] = partial(formats.cost_of_call, say=say)
    return pages.page(request, "usage/calls.html", {**frame, **values}, person=person, zone=query.zone)


@screens.get("/usage/portfolio")
async def read_portfolio(
    request: Request, person: LoggedIn, query: GroupsQuery, layer: Layer, pages: Pages
) -> Response:
    say = speaker(request)
    found = await portfolio(layer, query.calls, person, ids=query.chosen.get("project", ()))
    with reading_usage(person):
        frame = await _frame(layer, query, person, say)
    values = {**frame, "found": found, "cost_of": partial(formats.cost, say=say)}
    return pages.page(request, "usage/portfolio.html", values, person=person, zone=query.zone)


@screens.get("/usage/calls/{call_id}")
async def read_call(
    *, request: Request, person: LoggedIn, query: CallsQuery, layer: Layer, pages: Pages, policy: Policy, call_id: str
) -> Response:
    with reading_usage(person):
        found = await layer.get_call(call_id)
    if found is None:
        raise HTTPException(404)
    (row, payload), is_own = found, found[0].call.user_id == person.id
    # Where reading another user's messages needs a purpose, this page hides them: it does not ask for one.
    withheld = payload is not None and not is_own and policy.asks_purpose
    if withheld:
        payload = None
    elif payload is not None and not is_own:
        await layer.note_call_read(call_id)
    shown = one_call(row, payload, query.zone, speaker(request))
    values = {"query": query, "is_own": is_own, "withheld": withheld, **shown}
    return pages.page(request, "usage/call.html", values, person=person, zone=query.zone)


@router.get("/usage/export.csv")
async def export_csv(request: Request, person: LoggedIn, layer: Layer, zone: Zone) -> Response:
    return await _export(
        request, person, layer, zone, write=exports.as_csv, media_type="text/csv; charset=utf-8", suffix="csv"
    )


@router.get("/usage/export.jsonl")
async def export_json_lines(request: Request, person: LoggedIn, layer: Layer, zone: Zone) -> Response:
    media_type = "application/jsonl; charset=utf-8"
    return await _export(
        request, person, layer, zone, write=exports.as_json_lines, media_type=media_type, suffix="jsonl"
    )


router.include_router(screens)


async def _export(
    request: Request,
    person: Person,
    layer: ChainlitLayer,
    zone: ZoneInfo,
    *,
    write: Write,
    media_type: str,
    suffix: str,
) -> Response:
    try:
        query = _read(request, person, zone, (*CALL_ORDERS, *GROUP_ORDERS))
    except InvalidInput as error:
        return JSONResponse({"detail": speaker(request)(error.sentence, **error.values)}, 400)
    with reading_usage(person):
        body = write(layer.export_calls(query.calls))
    # Read the first part before the response starts: an export that fails at once gets its own status.
    first = await anext(body, b"")
    name = f"usage-{query.period.since.date()}-{query.period.last.date()}.{suffix}"
    return Download(body, first, media_type=media_type, headers=attachment(name))


async def _frame(layer: ChainlitLayer, query: UsageQuery, person: Person, say: Say) -> dict[str, Any]:
    """The variables for the choice of period and filters, on the overview and on the list of calls."""
    everyone = sees_all_usage(person)
    return {
        "query": query,
        "named": partial(formats.named, say=say),
        "everyone": everyone,
        "periods": PERIODS,
        "intervals": intervals_for(query.period),
        "dimensions": [one for one in DIMENSIONS if one != "user" or everyone],
        "projects": await visible_projects(layer, person),
        "filters": [
            (dimension, value, await _name(layer, query, dimension, value, say))
            for dimension, values in query.chosen.items()
            for value in values
        ],
    }


async def _name(layer: ChainlitLayer, query: UsageQuery, dimension: Filter, value: str, say: Say) -> str:
    if dimension not in ("user", "project", "key"):
        return formats.named(dimension, value, say)
    groups = await layer.usage_by(query.calls, dimension, limit=len(query.chosen[dimension]))
    return next((group.name for group in groups if group.value == value and group.name), value)
