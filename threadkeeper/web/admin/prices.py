"""Prices of the operator below `/admin/money/prices`: set one, see what it does, end it.

Each act leaves a row in the audit.
"""

import asyncio
import re
import uuid
from datetime import datetime
from decimal import Decimal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer import SYSTEM, InvalidRecord, acting_as
from datalayer.billing.cleaning import DEAREST, clean_price
from datalayer.billing.prices import LONGEST_PATTERN, compile_pattern
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import clean_text, utc_now
from datalayer.records.usage import CallFilter, Price
from threadkeeper.language.numbers import written
from threadkeeper.pricing.history import ChatServer, Named, named_models, price_of
from threadkeeper.pricing.overriding import later_than
from threadkeeper.pricing.rates import is_for
from threadkeeper.web.admin.money import (
    LONGEST_NAME,
    Server,
    model_address,
    named_model,
    price_address,
    state_of,
    used_since,
)
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import Admin
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import PageRoute
from threadkeeper.web.pages.fields import Fields
from threadkeeper.web.pages.filled import Filled
from threadkeeper.web.pages.forms import Form, redirect_to
from threadkeeper.web.pages.sentences import Say, speaker
from threadkeeper.web.pages.shell import PageWriter
from threadkeeper.web.pages.zone import Zone

AMOUNTS = ("input", "cached", "output", "image")
_NEEDED = ("input", "output")
_FIELDS = ("model", "provider", "since", *AMOUNTS)
_SPECIAL = re.compile(r"([\\.^$*+?{}\[\]|()])")

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/admin/money/prices/new")
async def new_price(*, request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone) -> Response:
    say = speaker(request)
    model, provider, like = (
        clean_text(request.query_params.get(name, ""))[:LONGEST_NAME] for name in ("model", "provider", "like")
    )
    values = dict.fromkeys(_FIELDS, "")
    if like:
        price = await _price(layer, like)
        values |= {"model": price.pattern, "provider": price.provider or ""} | _amounts(price, say)
    elif model:
        named = await named_model(layer, model, provider or None)
        values |= {"model": _SPECIAL.sub(r"\\\1", model), "provider": provider}
        if named.unpriced_since:
            values["since"] = datetime.fromisoformat(named.unpriced_since).astimezone(zone).date().isoformat()
    return await _form(request, layer, pages, person=person, zone=zone, form=Filled(values))


@router.post("/admin/money/prices")
async def add_price(*, request: Request, person: Admin, form: Form, layer: Layer, pages: Pages, zone: Zone) -> Response:
    fields = Fields(form, speaker(request), _FIELDS)
    price = _read(fields, zone)
    if price is None:
        return await _form(request, layer, pages, person=person, zone=zone, form=fields.filled, status=400)
    with acting_as(SYSTEM):
        kept = await layer.add_price(price, by=person.identifier)
    return redirect_to(f"/admin/money/prices/{kept.id}")


@router.get("/admin/money/prices/{price_id}")
async def read_price(
    *, request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone, server: Server, price_id: str
) -> Response:
    price, own = await _price(layer, price_id), await layer.list_prices()
    with acting_as(SYSTEM):
        lately = named_models(await layer.called_models(CallFilter(since=used_since())))
        since_then = named_models(await layer.called_models(CallFilter(since=price.valid_from)))
    unpriced = [
        one for one in since_then if one.unpriced and price.is_active and is_for(price, one.names, one.provider)
    ]
    # With thousands of prices, these take longer than the event loop may wait.
    have, others = await asyncio.to_thread(_models_of, price, own, lately, server)
    later = await asyncio.to_thread(later_than, price, own) if price.is_active else []
    values = {
        "price": price,
        "state": state_of(price, own),
        "later": later,
        "have": have,
        "others": others,
        "unpriced": sum(one.unpriced for one in unpriced),
        "offer": _offer(price, unpriced, zone),
        "model_address": model_address,
        "price_address": price_address,
    }
    return pages.page(request, "admin/price.html", values, person=person, zone=zone)


@router.post("/admin/money/prices/{price_id}/end")
async def end_price(person: Admin, _form: Form, layer: Layer, price_id: str) -> Response:
    price = await _price(layer, price_id)
    if price.is_active:
        with acting_as(SYSTEM):
            await layer.deactivate_price(price.id, by=person.identifier)
    return redirect_to(f"/admin/money/prices/{price.id}")


def _read(fields: Fields, zone: ZoneInfo) -> Price | None:
    """The price of a form; None if a field is not valid."""
    say = fields.say
    pattern = fields.text("model")
    if pattern:
        try:
            compile_pattern(pattern)
        except InvalidRecord:
            fields.refuse("model", say("money_bad_pattern", most=LONGEST_PATTERN))
    if len(fields.values["provider"]) > LONGEST_NAME:
        fields.refuse("provider", say("bad_length", most=LONGEST_NAME))
    amounts = {name: fields.amount(name, most=DEAREST, is_needed=name in _NEEDED) for name in AMOUNTS}
    since = fields.day("since", zone, is_needed=False)
    if fields.problems:
        return None
    price = Price(
        id=str(uuid.uuid4()),
        pattern=pattern,
        valid_from=since or utc_now(),
        input=amounts["input"] or Decimal(0),
        output=amounts["output"] or Decimal(0),
        cached=amounts["cached"],
        image=amounts["image"],
        provider=fields.values["provider"] or None,
    )
    try:
        return clean_price(price)
    except InvalidRecord:
        # Everything else was checked.
        for name, amount in amounts.items():
            if amount is not None and amount != round(amount, 12):
                fields.refuse(name, say("money_bad_decimals"))
        if not fields.problems:
            raise
        return None


def _models_of(
    price: Price, own: list[Price], lately: list[Named], server: ChatServer
) -> tuple[list[Named], list[Named]]:
    """The models in use that have this price now, and those that match it and have another one."""
    now, have, others = utc_now(), list[Named](), list[Named]()
    for one in lately:
        rates = price_of(one, own, server, now)
        if rates is not None and rates.own_id == price.id:
            have.append(one)
        elif rates is not None and is_for(price, one.names, one.provider):
            others.append(one)
    return have, others


def _offer(price: Price, unpriced: list[Named], zone: ZoneInfo) -> str:
    """The form that recalculates the costs of these models since the price is valid."""
    day = datetime.fromisoformat(price.valid_from).astimezone(zone).date().isoformat()
    names = {one.model for one in unpriced}
    model = {"model": names.pop()} if len(names) == 1 else {}
    return f"/admin/money/reprice?{urlencode({'since': day} | model)}"


async def _form(
    request: Request,
    layer: ChainlitLayer,
    pages: PageWriter,
    *,
    person: Person,
    zone: ZoneInfo,
    form: Filled,
    status: int = 200,
) -> Response:
    with acting_as(SYSTEM):
        lately = named_models(await layer.called_models(CallFilter(since=used_since())))
    values = {
        "form": form,
        "amounts": AMOUNTS,
        "needed": _NEEDED,
        "models": sorted({one.model for one in lately}),
        "providers": sorted({one.provider for one in lately if one.provider}),
        "longest_pattern": LONGEST_PATTERN,
        "longest_name": LONGEST_NAME,
    }
    return pages.page(request, "admin/new_price.html", values, person=person, zone=zone, status=status)


async def _price(layer: ChainlitLayer, price_id: str) -> Price:
    """The price with this id.

    Raises:
        HTTPException: there is none.
    """
    found = next((one for one in await layer.list_prices() if one.id == price_id), None)
    if found is None:
        raise HTTPException(404)
    return found


def _amounts(price: Price, say: Say) -> dict[str, str]:
    amounts = {name: getattr(price, name) for name in AMOUNTS}
    return {name: "" if amount is None else written(amount, say.language) for name, amount in amounts.items()}
