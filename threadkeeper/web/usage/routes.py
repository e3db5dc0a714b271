"""The pages at `/usage` and the files under it: everyone's own calls, and for an admin all of them."""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from datalayer.cleaning import clean_text
from datalayer.records.usage import CallRow, Dimension
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import LoggedIn, reading_usage, sees_all_usage
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.downloads import Download, attachment
from threadkeeper.web.pages.periods import PERIODS, intervals_for
from threadkeeper.web.pages.shell import BadAddress, Pages, Say, speaker
from threadkeeper.web.usage import exports
from threadkeeper.web.usage.calls import one_call
from threadkeeper.web.usage.overview import overview
from threadkeeper.web.usage.query import DIMENSIONS, ZONE_COOKIE, UsageQuery, read_query, zone_of
from threadkeeper.web.usage.reader import UsageReader

GROUP_ORDERS = ("cost", "calls", "failed", "tokens", "first_token", "speed", "name")
CALL_ORDERS = ("requested_at", "cost", "tokens", "seconds")
ROWS_A_PAGE = 50
_LONGEST_CURSOR = 2_000


def usage_router(
    layer: Callable[[], UsageReader], pages: Pages, *, time_zone: str = "UTC", asks_purpose: bool = False
) -> APIRouter:
    """The pages of totals, of the list of calls and of one call, and the exports.

    Args:
        layer: gives the data layer.
        pages: writes the pages.
        time_zone: where days begin for a reader whose browser names none.
        asks_purpose: whether what others said is read for a purpose alone, which these pages do not ask for.
    """
    router = APIRouter()
    screens = APIRouter(route_class=pages.route())

    def read(request: Request, person: Person, orders: Sequence[str]) -> UsageQuery:
        dimensions = [one for one in DIMENSIONS if one != "user" or sees_all_usage(person)]
        zone = zone_of(request.cookies.get(ZONE_COOKIE, ""), time_zone)
        return read_query(request.query_params, zone, dimensions=dimensions, orders=orders)

    @screens.get("/usage", include_in_schema=False)
    async def read_usage(request: Request, person: LoggedIn) -> Response:
        query, say = read(request, person, GROUP_ORDERS), speaker(request)
        with reading_usage(person):
            values = await overview(layer(), query, say)
            frame = await _frame(layer(), query, person, say)
        return pages.page(
            request, "usage/overview.html", {**frame, **values}, person=person, draws=bool(values["charts"])
        )

    @screens.get("/usage/calls", include_in_schema=False)
    async def read_calls(request: Request, person: LoggedIn) -> Response:
        query, say = read(request, person, CALL_ORDERS), speaker(request)
        cursor = request.query_params.get("cursor") or None
        ascending = request.query_params.get("direction") == "up"
        if cursor and len(cursor) > _LONGEST_CURSOR:
            raise BadAddress("bad_cursor")
        with reading_usage(person):
            found = await layer().list_calls(
                query.calls,
                order=query.order,
                descending=not ascending,
                cursor=cursor and clean_text(cursor),
                limit=ROWS_A_PAGE,
            )
            frame = await _frame(layer(), query, person, say)
        values = {"found": found, "ascending": ascending, "cursor": cursor, "rows_a_page": ROWS_A_PAGE}
        values["cost_of"] = partial(formats.cost_of_call, say=say)
        return pages.page(request, "usage/calls.html", {**frame, **values}, person=person)

    @screens.get("/usage/calls/{call_id}", include_in_schema=False)
    async def read_call(request: Request, person: LoggedIn, call_id: str) -> Response:
        query = read(request, person, CALL_ORDERS)
        with reading_usage(person):
            found = await layer().get_call(call_id)
        if found is None:
            raise HTTPException(404)
        (row, payload), is_own = found, found[0].call.user_id == person.id
        withheld = payload is not None and not is_own and asks_purpose
        if withheld:
            payload = None
        elif payload is not None and not is_own:
            await layer().note_call_read(call_id)
        values = {
            "query": query,
            "formats": formats,
            "is_own": is_own,
            "withheld": withheld,
            **one_call(row, payload, query.zone, speaker(request)),
        }
        return pages.page(request, "usage/call.html", values, person=person)

    async def export(
        request: Request,
        person: Person,
        written: Callable[[AsyncIterator[CallRow]], AsyncIterator[bytes]],
        media_type: str,
        suffix: str,
    ) -> Response:
        try:
            query = read(request, person, (*CALL_ORDERS, *GROUP_ORDERS))
        except BadAddress as error:
            return JSONResponse({"detail": speaker(request)(error.sentence, **error.values)}, 400)
        with reading_usage(person):
            body = written(layer().export_calls(query.calls))
        # What cannot be begun is told as what it is, and not as a file of nothing.
        first = await anext(body, b"")
        name = f"usage-{query.period.since.date()}-{query.period.last.date()}.{suffix}"
        return Download(body, first, media_type=media_type, headers=attachment(name))

    @router.get("/usage/export.csv", include_in_schema=False)
    async def export_csv(request: Request, person: LoggedIn) -> Response:
        return await export(request, person, exports.as_csv, "text/csv; charset=utf-8", "csv")

    @router.get("/usage/export.jsonl", include_in_schema=False)
    async def export_json_lines(request: Request, person: LoggedIn) -> Response:
        return await export(request, person, exports.as_json_lines, "application/jsonl; charset=utf-8", "jsonl")

    router.include_router(screens)
    return router


async def _frame(layer: UsageReader, query: UsageQuery, person: Person, say: Say) -> dict[str, Any]:
    """What the pages of totals and of calls have in common: the period, and what is filtered by."""
    everyone = sees_all_usage(person)
    return {
        "query": query,
        "formats": formats,
        "named": partial(formats.named, say=say),
        "everyone": everyone,
        "periods": PERIODS,
        "intervals": intervals_for(query.period),
        "dimensions": [one for one in DIMENSIONS if one != "user" or everyone],
        "filters": [
            (dimension, value, await _name(layer, query, dimension, value, say))
            for dimension, values in query.chosen.items()
            for value in values
        ],
    }


async def _name(layer: UsageReader, query: UsageQuery, dimension: Dimension, value: str, say: Say) -> str:
    if dimension not in ("user", "project"):
        return formats.named(dimension, value, say)
    groups = await layer.usage_by(query.calls, dimension, limit=len(query.chosen[dimension]))
    return next((group.name for group in groups if group.value == value and group.name), value)
