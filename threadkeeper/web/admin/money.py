"""The price list at `/admin/money`: the models that are in use with their price, the operator's prices, and the
published ones. `/admin/money/model` shows which price a model has had at each time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from datalayer import SYSTEM, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import clean_text, utc_in, utc_now
from datalayer.records.usage import CallFilter, Price
from threadkeeper.offered_models import OfferedModels
from threadkeeper.pricing.history import ChatServer, Named, Validity, named_models, price_history
from threadkeeper.pricing.published import PublishedPrice, published_prices
from threadkeeper.web.auth.roles import Admin
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.zone import Zone

LISTS = ("used", "own", "published")
ROWS_A_PAGE = 50
USED_DAYS = 90
"""A model is in use if it was called in so many days."""
LONGEST_NAME = 300
_MOST_PAGES = 10_000
# The providers whose name alone finds the published price; others are found by their host.
_NAMED = ("openai", "azure")

router = APIRouter(route_class=PageRoute, include_in_schema=False)


async def _server(request: Request) -> ChatServer:
    server: ChatServer = request.state.chat_server
    return server


Server = Annotated[ChatServer, Depends(_server)]
"""The server of the chat's models, as the settings say."""


@dataclass(frozen=True, slots=True)
class UsedModel:
    """A model in use, and the price that it has now."""

    named: Named
    now: Validity


@router.get("/admin/money")
async def read_prices(
    *, request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone, server: Server
) -> Response:
    chosen = request.query_params.get("list", LISTS[0])
    words = clean_text(request.query_params.get("words", "")).strip()
    if chosen not in LISTS or len(words) > LONGEST_NAME:
        raise InvalidInput("bad_choice", value=chosen[:60])
    own, rows = await layer.list_prices(), list[Any]()
    if chosen == "used":
        used = await used_models(request, layer, server)
        rows = [one for one in used if _has(words, *one.names, one.provider)]
    elif chosen == "own":
        rows = [one for one in own if _has(words, one.pattern, one.provider, one.id)]
    else:
        rows = [one for one in published_prices(datetime.now(UTC)) if _has(words, one.model, one.provider_name)]
    page = _page_number(request)
    shown = rows[(page - 1) * ROWS_A_PAGE : page * ROWS_A_PAGE]
    if chosen == "used":
        # Of the page alone, and not in the event loop: a look into the table of published prices takes a millisecond.
        shown = await asyncio.to_thread(lambda: [_with_price(one, own, server) for one in shown])
    elif chosen == "own":
        shown = [(one, state_of(one, own)) for one in shown]
    values = {
        "chosen": chosen,
        "lists": LISTS,
        "words": words,
        "page": page,
        "count": len(rows),
        "rows": shown,
        "has_more": len(rows) > page * ROWS_A_PAGE,
        "rows_a_page": ROWS_A_PAGE,
        "used_days": USED_DAYS,
        "added": _added(request),
        "price_address": price_address,
        "model_address": model_address,
        "published_address": _published_address,
    }
    return pages.page(request, "admin/prices.html", values, person=person, zone=zone)


@router.get("/admin/money/model")
async def read_model(
    *, request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone, server: Server
) -> Response:
    model = clean_text(request.query_params.get("model", ""))
    provider = clean_text(request.query_params.get("provider", "")) or None
    if not model:
        raise HTTPException(404)
    if len(model) > LONGEST_NAME or len(provider or "") > LONGEST_NAME:
        raise InvalidInput("bad_length", most=LONGEST_NAME)
    named = await named_model(layer, model, provider)
    own = await layer.list_prices()
    now = utc_now()
    values = {
        "named": named,
        "history": await asyncio.to_thread(price_history, named, own, server),
        "is_now": lambda one: (one.since or "") <= now < (one.until or "9"),
        "patterns": {one.id: one.pattern for one in own},
        "used_days": USED_DAYS,
        "price_address": price_address,
        "usage_address": usage_address(named),
    }
    return pages.page(request, "admin/model_prices.html", values, person=person, zone=zone)


async def used_models(request: Request, layer: ChainlitLayer, server: ChatServer) -> list[Named]:
    """The models that were called lately or are configured, those with calls without a cost first."""
    with acting_as(SYSTEM):
        found = named_models(await layer.called_models(CallFilter(since=used_since())))
    called = {(one.model, one.provider) for one in found}
    offered: OfferedModels = request.state.offered_models
    choice = await offered.of(SYSTEM)
    configured = () if offered.is_demo else (*choice.names, *choice.others)
    found += [Named(one, server.provider) for one in configured if (one, server.provider) not in called]
    return sorted(found, key=lambda one: (not one.unpriced, -one.calls, one.model))


def _with_price(named: Named, own: Sequence[Price], server: ChatServer) -> UsedModel:
    now = utc_now()
    return UsedModel(named, next(part for part in price_history(named, own, server) if (part.since or "") <= now))


async def named_model(layer: ChainlitLayer, model: str, provider: str | None) -> Named:
    """The model with its calls of late; without a provider, those of all."""
    which = CallFilter(since=used_since(), models=(model,), providers=(provider,) if provider else ())
    with acting_as(SYSTEM):
        found = named_models(await layer.called_models(which))
    if not found:
        return Named(model, provider)
    return found[0] if len(found) == 1 else max(found, key=lambda one: (one.unpriced, one.calls))


def used_since() -> str:
    return utc_in(-timedelta(days=USED_DAYS).total_seconds())


def state_of(price: Price, own: Sequence[Price]) -> str:
    """What the price is now: "valid", "later", "ended", or "replaced" by a newer one of its pattern and provider."""
    now = utc_now()
    if not price.is_active:
        return "ended"
    if price.valid_from > now:
        return "later"
    same = (price.pattern.lower(), price.provider)
    first = next(
        one for one in own if one.is_active and one.valid_from <= now and (one.pattern.lower(), one.provider) == same
    )
    return "valid" if first.id == price.id else "replaced"


def price_address(model: str = "", provider: str | None = None, like: str = "") -> str:
    """The form for a new price, filled in for a model, or as another price."""
    given = {"model": model, "provider": provider, "like": like}
    text = urlencode({name: value for name, value in given.items() if value})
    return "/admin/money/prices/new" + (f"?{text}" if text else "")


def model_address(named: Named) -> str:
    given = {"model": named.model, "provider": named.provider}
    return f"/admin/money/model?{urlencode({name: value for name, value in given.items() if value})}"


def usage_address(named: Named) -> str:
    """The calls of the model of a year, at `/usage`."""
    given = {"period": "year", "model": named.model, "provider": named.provider}
    return f"/usage/calls?{urlencode({name: value for name, value in given.items() if value})}"


def _published_address(price: PublishedPrice) -> str:
    return price_address(price.model, price.provider if price.provider in _NAMED else None)


def _has(words: str, *names: str | None) -> bool:
    return any(words.casefold() in name.casefold() for name in names if name is not None)


def _page_number(request: Request) -> int:
    text = request.query_params.get("page", "1")
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= _MOST_PAGES):
        raise InvalidInput("bad_cursor")
    return int(text)


def _added(request: Request) -> int:
    """How many prices a list has just set; 0 without one."""
    text = request.query_params.get("added", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
