"""One user at `/admin/people/{user_id}`: role, password, logins, limits, deletion.

Each act leaves a row in the audit.
"""

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer import SYSTEM, InvalidRecord, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.chat import ROLES
from threadkeeper.web.admin.limits import FIELDS, PERIODS, UNITS, limit_of
from threadkeeper.web.admin.people import COST_DAYS, INVITATION_DAYS, invited, known_user
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import Admin
from threadkeeper.web.pages.addresses import PublicUrl
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidField, InvalidInput, PageRoute
from threadkeeper.web.pages.fields import Fields
from threadkeeper.web.pages.filled import Filled
from threadkeeper.web.pages.forms import Form, page_of_form, redirect_to
from threadkeeper.web.pages.receipts import receipt_page
from threadkeeper.web.pages.sentences import speaker
from threadkeeper.web.pages.shell import PageWriter
from threadkeeper.web.pages.zone import Zone

_NEW_LIMIT = {"amount": "", "unit": "tokens", "period": "month"}
_LONGEST_CONFIRMATION = 1_000

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/admin/people/{user_id}")
async def read_person(
    *, request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone, user_id: str
) -> Response:
    found = await known_user(layer, user_id)
    return await _page(request, layer, pages, found, person=person, zone=zone, form=Filled(_NEW_LIMIT))


async def _page(
    request: Request,
    layer: ChainlitLayer,
    pages: PageWriter,
    found: Any,
    *,
    person: Person,
    zone: ZoneInfo,
    form: Filled,
    status: int = 200,
) -> Response:
    with acting_as(SYSTEM):
        standings = await layer.limit_standings(found.user.id, None, zone=pages.time_zone)
    values = {
        "found": found,
        "standings": standings,
        "form": form,
        "is_me": found.user.id == person.id,
        "roles": ROLES,
        "units": UNITS,
        "periods": PERIODS,
        "cost_days": COST_DAYS,
        "invitation_days": INVITATION_DAYS,
        "saved": "saved" in request.query_params,
    }
    return pages.page(request, "admin/person.html", values, person=person, zone=zone, status=status)


@router.post("/admin/people/{user_id}/role")
async def change_role(person: Admin, form: Form, layer: Layer, user_id: str) -> Response:
    found, role = await known_user(layer, user_id), form.one("role")
    if role not in ROLES:
        raise InvalidInput("bad_choice", value=role[:60])
    with _keeping_an_admin(found.user.identifier):
        await layer.set_role(found.user.identifier, role, by=person.identifier)
    return _back_to(found)


@router.post("/admin/people/{user_id}/disable")
async def disable(person: Admin, _form: Form, layer: Layer, user_id: str) -> Response:
    found = await known_user(layer, user_id)
    with _keeping_an_admin(found.user.identifier):
        await layer.set_disabled(found.user.identifier, True, by=person.identifier)
    return _back_to(found)


@router.post("/admin/people/{user_id}/enable")
async def enable(person: Admin, _form: Form, layer: Layer, user_id: str) -> Response:
    found = await known_user(layer, user_id)
    with acting_as(SYSTEM):
        await layer.set_disabled(found.user.identifier, False, by=person.identifier)
    return _back_to(found)


@router.post("/admin/people/{user_id}/invite")
async def invite(
    *,
    request: Request,
    person: Admin,
    _form: Form,
    layer: Layer,
    pages: Pages,
    zone: Zone,
    public_url: PublicUrl,
    user_id: str,
) -> Response:
    found = await known_user(layer, user_id)
    if not found.has_password:
        # The user comes from another provider, which must stay the only way in.
        raise InvalidInput("admin_no_password", name=found.user.identifier)
    if found.user.disabled_at:
        # Nobody could use the link.
        raise InvalidInput("admin_is_disabled", name=found.user.identifier)
    values = await invited(layer, found.user.identifier, person, public_url)
    return pages.page(request, "admin/invited.html", {**values, "is_new": False}, person=person, zone=zone)


@router.post("/admin/people/{user_id}/logins/end")
async def end_logins(person: Admin, _form: Form, layer: Layer, user_id: str) -> Response:
    found = await known_user(layer, user_id)
    with acting_as(SYSTEM):
        await layer.end_logins_of_user(found.user.identifier, by=person.identifier)
    return _back_to(found)


@router.post("/admin/people/{user_id}/limits")
async def put_limit(
    *, request: Request, person: Admin, form: Form, layer: Layer, pages: Pages, zone: Zone, user_id: str
) -> Response:
    found = await known_user(layer, user_id)
    fields = Fields(form, speaker(request), FIELDS)
    limit = limit_of(fields, "user", found.user.id)
    if limit is None:
        return await _page(request, layer, pages, found, person=person, zone=zone, form=fields.filled, status=400)
    with acting_as(SYSTEM):
        await layer.put_limit(limit, by=person.identifier)
    return _back_to(found, "limits")


@router.post("/admin/people/{user_id}/limits/{limit_id}/remove")
async def remove_limit(person: Admin, _form: Form, layer: Layer, user_id: str, limit_id: str) -> Response:
    found = await known_user(layer, user_id)
    own = [one for one in await layer.list_limits() if one.scope == "user" and one.subject_id == found.user.id]
    if limit_id not in [one.id for one in own]:
        raise HTTPException(404)
    with acting_as(SYSTEM):
        await layer.remove_limit(limit_id, by=person.identifier)
    return _back_to(found, "limits")


@router.post("/admin/people/{user_id}/delete", dependencies=[page_of_form("/admin/people/{user_id}")])
async def delete(*, request: Request, person: Admin, form: Form, layer: Layer, pages: Pages, user_id: str) -> Response:
    found = await known_user(layer, user_id)
    name, typed = found.user.identifier, form.one("confirm", longest=_LONGEST_CONFIRMATION).strip()
    if not hmac.compare_digest(typed.encode(), name.encode()):
        raise InvalidField("confirm", "admin_delete_wrong", name=name)
    with _keeping_an_admin(name):
        receipt = await layer.delete_user(name, by=person.identifier)
    return receipt_page(request, pages, "admin/deleted.html", receipt, person=person)


@contextmanager
def _keeping_an_admin(name: str) -> Iterator[None]:
    """The system acts. Everything else is checked before, so the layer refuses only to leave no admin.

    Raises:
        InvalidInput: the user is the only admin.
    """
    try:
        with acting_as(SYSTEM):
            yield
    except InvalidRecord:
        raise InvalidInput("admin_only_admin", name=name) from None


def _back_to(found: Any, section: str = "") -> Response:
    return redirect_to(f"/admin/people/{found.user.id}?saved=1" + (f"#{section}" if section else ""))
