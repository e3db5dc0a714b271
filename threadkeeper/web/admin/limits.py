"""Limits at `/admin/money/limits`: of everyone, projects and keys. Those of one person are set at `/admin/people`.

Each act leaves a row in the audit.
"""

import uuid
from dataclasses import replace
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer import SYSTEM, Limit, acting_as
from datalayer.billing.cleaning import HIGHEST
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import Period
from datalayer.records.usage import Scope as AnyScope
from threadkeeper.language.numbers import written
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import Admin
from threadkeeper.web.pages.cursors import cursor_of
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.fields import Fields
from threadkeeper.web.pages.filled import Filled
from threadkeeper.web.pages.forms import Form, redirect_to
from threadkeeper.web.pages.sentences import speaker
from threadkeeper.web.pages.shell import PageWriter
from threadkeeper.web.pages.zone import Zone
from threadkeeper.web.usage.limit_subjects import id_of_subject

Scope = Literal["users", "project", "key"]
UNITS: tuple[Literal["tokens", "dollars"], ...] = ("tokens", "dollars")
PERIODS: tuple[Period, ...] = get_args(Period)
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""The scopes of the limits that are set here."""
FIELDS = ("amount", "unit", "period")
ROWS_A_PAGE = 50
_ALL_SCOPES: tuple[AnyScope, ...] = ("users", "user", "project", "key")
_FIXED = ("scope", "subject", "unit", "period")
_NEW = {"amount": "", "unit": "tokens", "period": "month", "scope": "users", "subject": ""}
_LONGEST_NAME = 300

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/admin/money/limits")
async def list_limits(*, request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone) -> Response:
    if not (changed := request.query_params.get("change")):
        return await _list(request, layer, pages, person=person, zone=zone, form=Filled(_NEW))
    found = await _changeable(layer, changed)
    values = await _fixed(layer, found) | {"amount": written(found.amount, speaker(request).language)}
    return await _list(request, layer, pages, person=person, zone=zone, form=Filled(values), changed=found)


@router.post("/admin/money/limits")
async def put_limit(*, request: Request, person: Admin, form: Form, layer: Layer, pages: Pages, zone: Zone) -> Response:
    say = speaker(request)
    fields = Fields(form, say, tuple(_NEW), longest=_LONGEST_NAME)
    if changed := form.one("limit", longest=_LONGEST_NAME):
        found = await _changeable(layer, changed)
        fixed = await _fixed(layer, found)
        for name in _FIXED:
            if fields.values[name] not in ("", fixed[name]):
                fields.refuse(name, say("money_limit_fixed"))
        fields.values |= fixed
        given = limit_of(fields, found.scope, found.subject_id)
        if given is None:
            return await _list(
                request, layer, pages, person=person, zone=zone, form=fields.filled, changed=found, status=400
            )
        with acting_as(SYSTEM):
            await layer.put_limit(
                replace(found, amount=given.amount), by=person.identifier, only_if=lambda stored: stored.id == found.id
            )
        return redirect_to("/admin/money/limits?saved=1")
    asked = fields.choice("scope", SCOPES)
    scope: Scope = next((one for one in SCOPES if one == asked), "users")
    subject_id = None
    if scope != "users" and fields.text("subject"):
        with acting_as(SYSTEM):
            subject_id = await id_of_subject(layer, scope, fields.values["subject"])
        if subject_id is None:
            fields.refuse("subject", say(f"money_no_{scope}"))
    elif scope == "users" and fields.values["subject"]:
        fields.refuse("subject", say("money_subject_of_all"))
    limit = limit_of(fields, scope, subject_id)
    if limit is None:
        return await _list(request, layer, pages, person=person, zone=zone, form=fields.filled, status=400)
    with acting_as(SYSTEM):
        await layer.put_limit(limit, by=person.identifier)
    return redirect_to("/admin/money/limits?saved=1")


@router.post("/admin/money/limits/{limit_id}/remove")
async def remove_limit(person: Admin, _form: Form, layer: Layer, limit_id: str) -> Response:
    found = await _limit(layer, limit_id)
    with acting_as(SYSTEM):
        await layer.remove_limit(found.id, by=person.identifier)
    return redirect_to("/admin/money/limits?saved=1")


def limit_of(fields: Fields, scope: Scope | Literal["user"], subject_id: str | None) -> Limit | None:
    """The limit of a form with `FIELDS`; None if a field is not valid."""
    amount = fields.amount("amount", most=HIGHEST)
    unit = next((one for one in UNITS if one == fields.choice("unit", UNITS)), UNITS[0])
    period = next((one for one in PERIODS if one == fields.choice("period", PERIODS)), PERIODS[0])
    if amount is not None and amount != round(amount, 0 if unit == "tokens" else 12):
        fields.refuse("amount", fields.say("money_whole" if unit == "tokens" else "money_bad_decimals"))
    if amount is None or fields.problems:
        return None
    return Limit(str(uuid.uuid4()), scope, subject_id, period, unit, amount)


async def _list(
    request: Request,
    layer: ChainlitLayer,
    pages: PageWriter,
    *,
    person: Person,
    zone: ZoneInfo,
    form: Filled,
    changed: Limit | None = None,
    status: int = 200,
) -> Response:
    scope, cursor = request.query_params.get("scope", ""), cursor_of(request.query_params)
    if scope not in ("", *_ALL_SCOPES):
        raise InvalidInput("bad_cursor")
    with acting_as(SYSTEM):
        found = await layer.page_of_limits(
            zone=pages.time_zone, scopes=[one for one in _ALL_SCOPES if one == scope], cursor=cursor, limit=ROWS_A_PAGE
        )
    values: dict[str, Any] = {
        "form": form,
        "found": found,
        "scope": scope,
        "all_scopes": _ALL_SCOPES,
        "scopes": SCOPES,
        "units": UNITS,
        "periods": PERIODS,
        "projects": [one.slug for one in await layer.list_projects()],
        "limits_zone": pages.time_zone,
        "saved": "saved" in request.query_params,
        "changed": changed,
        "rows_a_page": ROWS_A_PAGE,
    }
    return pages.page(request, "admin/limits.html", values, person=person, zone=zone, status=status)


async def _limit(layer: ChainlitLayer, limit_id: str) -> Limit:
    found = next((one for one in await layer.list_limits() if one.id == limit_id), None)
    if found is None:
        raise HTTPException(404)
    return found


async def _changeable(layer: ChainlitLayer, limit_id: str) -> Limit:
    """The limit, unless it is changed on the page of its person."""
    found = await _limit(layer, limit_id)
    if found.scope == "user":
        raise HTTPException(404)
    return found


async def _fixed(layer: ChainlitLayer, limit: Limit) -> dict[str, str]:
    """The fields of the form that stay when the limit is changed."""
    with acting_as(SYSTEM):
        subject = await _name_of(layer, limit)
    return {"scope": limit.scope, "subject": subject, "unit": limit.unit, "period": limit.period}


async def _name_of(layer: ChainlitLayer, limit: Limit) -> str:
    """The name by which the form finds the subject of a limit."""
    if limit.scope == "project":
        return next((one.slug for one in await layer.list_projects() if one.id == limit.subject_id), "")
    key = await layer.get_api_key(limit.subject_id) if limit.scope == "key" and limit.subject_id else None
    return key.prefix if key else ""
