"""A list of prices from a file, at `/admin/money/price-list`: shown first, and stored when confirmed.

The act leaves a row in the audit.
"""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from datalayer import SYSTEM, acting_as
from datalayer.cleaning import clean_time, utc_now
from datalayer.errors import InvalidRecord
from datalayer.records.usage import Price
from threadkeeper.pricing.files import COLUMNS, PriceFileError, read_prices
from threadkeeper.pricing.overriding import later_than
from threadkeeper.web.admin.prices import AMOUNTS
from threadkeeper.web.auth.roles import Admin
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidField, InvalidInput, PageRoute, TooLarge
from threadkeeper.web.pages.forms import Form, page_of_form, redirect_to
from threadkeeper.web.pages.sentences import speaker
from threadkeeper.web.pages.uploads import Upload, uploaded
from threadkeeper.web.pages.zone import Zone

ADDRESS = "/admin/money/price-list"
LARGEST_KILOBYTES = 300
"""The page carries the file to the confirmation, in a form of at most a megabyte."""
PROBLEMS_SHOWN = 50
ROWS_SHOWN = 500
LATER_SHOWN = 5
_LARGEST_FORM = LARGEST_KILOBYTES * 1024 + 10_000
_LONGEST_CONTENT = LARGEST_KILOBYTES * 1024 * 2
_LONGEST_NAME = 255

router = APIRouter(route_class=PageRoute, include_in_schema=False)


async def _uploaded(request: Request, _person: Admin) -> AsyncIterator[Upload]:
    too_large = TooLarge("money_file_too_large", most=LARGEST_KILOBYTES)
    async with uploaded(request, too_large, most_files=1, most_bytes=_LARGEST_FORM) as form:
        yield form


ListForm = Annotated[Upload, Depends(_uploaded)]


@router.get(ADDRESS)
async def choose_list(*, request: Request, person: Admin, pages: Pages, zone: Zone) -> Response:
    return pages.page(request, "admin/price_list.html", _values(zone), person=person, zone=zone)


@router.post(ADDRESS, dependencies=[page_of_form(ADDRESS)])
async def show_list(
    *, request: Request, person: Admin, form: ListForm, layer: Layer, pages: Pages, zone: Zone
) -> Response:
    if not form.files:
        raise InvalidField("file", "money_no_file")
    (file,) = form.files
    name, content, now = (file.filename or "")[-_LONGEST_NAME:], await file.read(), utc_now()
    values = _values(zone) | {"name": name}
    try:
        prices = await asyncio.to_thread(read_prices, name, content, now, zone.key)
    except PriceFileError as error:
        told = [one.said(speaker(request)) for one in error.problems[:PROBLEMS_SHOWN]]
        values |= {"problems": told, "problem_count": len(error.problems)}
        return pages.page(request, "admin/price_list.html", values, person=person, zone=zone, status=400)
    own = await layer.list_prices()
    rows = await asyncio.to_thread(_with_later, prices, own)
    values |= {"rows": rows, "count": len(prices), "content": base64.b64encode(content).decode(), "now": now}
    values |= {"stored": {one.id for one in own}, "later_shown": LATER_SHOWN}
    return pages.page(request, "admin/price_list.html", values, person=person, zone=zone)


@router.post(f"{ADDRESS}/store")
async def store_list(person: Admin, form: Form, layer: Layer, zone: Zone) -> Response:
    """Store what was shown: the page sends the file and the moment again, and both are read as before.

    A second click sends the same moment, so that the prices have the ids that are stored, and nothing is added.
    """
    name, content = form.one("name", longest=_LONGEST_NAME), form.one("content", longest=_LONGEST_CONTENT)
    try:
        now = clean_time(form.one("now", longest=40), "now") or utc_now()
        read = base64.b64decode(content, validate=True)
        prices = await asyncio.to_thread(read_prices, name, read, now, zone.key)
    except (binascii.Error, InvalidRecord, PriceFileError):
        raise InvalidInput("bad_form") from None
    with acting_as(SYSTEM):
        await layer.add_prices(prices, by=person.identifier)
    return redirect_to(f"/admin/money?list=own&added={len(prices)}")


def _with_later(prices: Sequence[Price], own: Sequence[Price]) -> list[tuple[Price, list[Price]]]:
    """The prices of the file that are shown, each with those that override it: stored ones, and others of the file."""
    # As they will be listed: of the same time, the last row comes first, and then what is stored already.
    newest_first = sorted([*reversed(prices), *own], key=lambda one: one.valid_from, reverse=True)
    return [(one, later_than(one, newest_first)) for one in prices[:ROWS_SHOWN]]


def _values(zone: Zone) -> dict[str, Any]:
    return {
        "columns": COLUMNS,
        "kilobytes": LARGEST_KILOBYTES,
        "amounts": AMOUNTS,
        "name": "",
        "problems": (),
        "problem_count": 0,
        "rows": (),
        "count": 0,
        "content": "",
        "now": "",
        "zone_name": zone.key,
    }
