"""Limits and prices of the operator: list them; admins set, change and remove them, as the commands do."""

import uuid
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from datalayer import SYSTEM, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.records.usage import Limit, Price, plain_amount
from threadkeeper.web.api.access import AdminCaller, UsageReader
from threadkeeper.web.api.calls_query import instant, zone_named
from threadkeeper.web.api.once import note_done, once_with
from threadkeeper.web.api.paging import Cursor, IfMatch, demand_match, etag, matching, page_of
from threadkeeper.web.api.paging import Limit as PageLimit
from threadkeeper.web.api.problems import invalid, not_found
from threadkeeper.web.api.route import PREFIX, ApiRoute, location_of
from threadkeeper.web.api.shapes import LARGEST_PAGE
from threadkeeper.web.api.usage_shapes import (
    ChangedLimit,
    LimitList,
    LimitRow,
    NewLimit,
    NewPrice,
    PricePage,
    PriceRow,
    limit_of,
    price_of,
)
from threadkeeper.web.auth.roles import sees_all_usage
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.usage.limit_subjects import id_of_subject

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)


@router.get("/prices")
async def list_prices(_caller: UsageReader, layer: Layer, cursor: Cursor = None, limit: PageLimit = 20) -> PricePage:
    """The operator's prices, the newest first. Other models have the published price of their provider, if there is
    one."""
    page, following = page_of(await layer.list_prices(), lambda one: one.id, cursor, limit)
    return PricePage(data=[price_of(one) for one in page], next_cursor=following)


@router.post("/prices", status_code=201, dependencies=[once_with("admin", from_pages=False)])
async def add_price(request: Request, caller: AdminCaller, layer: Layer, pages: Pages, given: NewPrice) -> PriceRow:
    """Add a price. It overrides those that begin earlier; past calls keep their cost."""
    since = instant(given.valid_from, zone_named(pages.time_zone), "body.valid_from")
    price = Price(
        id=str(uuid.uuid4()),
        pattern=given.model,
        valid_from=since or utc_now(),
        input=given.input,
        output=given.output,
        cached=given.cached,
        image=given.image,
        provider=given.provider,
    )
    with acting_as(SYSTEM):
        kept = await layer.add_price(price, by=caller.identifier)
    note_done(request)
    return price_of(kept)


@router.delete("/prices/{price_id}")
async def end_price(caller: AdminCaller, layer: Layer, price_id: str) -> PriceRow:
    """End a price: no later call gets it. It stays in the list; past calls keep their cost."""
    found = next((one for one in await layer.list_prices() if one.id == price_id), None)
    if found is None:
        raise not_found("price")
    if found.is_active:
        with acting_as(SYSTEM):
            await layer.deactivate_price(found.id, by=caller.identifier)
    return price_of(replace(found, is_active=False))


@router.get("/limits")
async def list_limits(
    *, caller: UsageReader, layer: Layer, pages: Pages, cursor: Cursor = None, limit: PageLimit = LARGEST_PAGE
) -> LimitList:
    """The limits of the user and the key, and how much of them is used. Admins see all limits, the oldest first."""
    slug = caller.key.project if caller.key else None
    project_id = await layer.project_id(slug) if slug else None
    standings = {
        one.limit.id: one
        for one in await layer.limit_standings(
            caller.user_id,
            project_id or await layer.default_project(),
            caller.key.id if caller.key else None,
            zone=pages.time_zone,
        )
    }
    limits = await layer.list_limits()
    shown = [one for one in limits if one.id in standings or sees_all_usage(caller.person)]
    page, following = page_of(shown, lambda one: one.id, cursor, limit)
    return LimitList(data=[limit_of(one, standings.get(one.id)) for one in page], next_cursor=following)


@router.post("/limits", status_code=201, dependencies=[once_with("admin", from_pages=False)])
async def put_limit(
    request: Request, caller: AdminCaller, layer: Layer, given: NewLimit, response: Response
) -> LimitRow:
    """Set a limit. One of the same subject, period and unit gets the new amount."""
    if (given.subject is None) != (given.scope == "users"):
        raise invalid("body.subject", "a limit needs it, but for the scope users, which has none")
    subject_id = None if given.subject is None else await _subject(layer, given.scope, given.subject)
    with acting_as(SYSTEM):
        kept = await layer.put_limit(
            Limit(str(uuid.uuid4()), given.scope, subject_id, given.period, given.unit, given.amount),
            by=caller.identifier,
        )
    note_done(request)
    response.headers["Location"] = location_of(f"/limits/{kept.id}")
    response.headers["ETag"] = _etag(kept)
    return limit_of(kept, None)


@router.get("/limits/{limit_id}")
async def read_limit(_caller: AdminCaller, layer: Layer, limit_id: str, response: Response) -> LimitRow:
    """A limit, without what is used of it."""
    found = await _limit(layer, limit_id)
    response.headers["ETag"] = _etag(found)
    return limit_of(found, None)


@router.patch("/limits/{limit_id}")
async def change_limit(
    *,
    caller: AdminCaller,
    layer: Layer,
    limit_id: str,
    given: ChangedLimit,
    response: Response,
    if_match: IfMatch = None,
) -> LimitRow:
    """Give a limit another amount. With `If-Match`, only if nobody changed it meanwhile."""
    found = await _limit(layer, limit_id)
    demand_match(if_match, _etag(found), "limit")
    with acting_as(SYSTEM):
        changed = await layer.put_limit(
            replace(found, amount=given.amount), by=caller.identifier, only_if=matching(if_match, _etag)
        )
    response.headers["ETag"] = _etag(changed)
    return limit_of(changed, None)


@router.delete("/limits/{limit_id}", status_code=204)
async def remove_limit(caller: AdminCaller, layer: Layer, limit_id: str, if_match: IfMatch = None) -> None:
    """Remove a limit."""
    found = await _limit(layer, limit_id)
    demand_match(if_match, _etag(found), "limit")
    with acting_as(SYSTEM):
        await layer.remove_limit(found.id, by=caller.identifier, only_if=matching(if_match, _etag))


async def _limit(layer: ChainlitLayer, limit_id: str) -> Limit:
    found = next((one for one in await layer.list_limits() if one.id == limit_id), None)
    if found is None:
        raise not_found("limit")
    return found


async def _subject(layer: ChainlitLayer, scope: str, subject: str) -> str:
    """The id of what a limit is of."""
    with acting_as(SYSTEM):
        found = await id_of_subject(layer, scope, subject)
    if found is None:
        raise invalid("body.subject", f"there is no such {scope}")
    return found


def _etag(limit: Limit) -> str:
    return etag(plain_amount(limit.amount))
