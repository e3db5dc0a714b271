"""The section of `/me` for API keys: make one, which is shown once, and revoke one."""

from datetime import date, datetime, time, timedelta

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer import ApiKey, InvalidRecord
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import known_id
from datalayer.keys.keys import LONGEST_NAME
from datalayer.records.keys import KEY_SCOPES, ROLES_OF_SCOPES, KeyScope
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidField, PageRoute
from threadkeeper.web.pages.forms import Form, page_of_form, redirect_to
from threadkeeper.web.pages.zone import Zone

_LONGEST_DATE = 10

router = APIRouter(route_class=PageRoute, include_in_schema=False)


async def own_keys(layer: ChainlitLayer) -> list[ApiKey]:
    """The acting user's keys that are not revoked, newest first."""
    return [key for key in await layer.list_api_keys() if key.revoked_at is None]


def offered(person: Person) -> list[KeyScope]:
    """The scopes that a user of this role can have."""
    return [scope for scope in KEY_SCOPES if person.role in ROLES_OF_SCOPES.get(scope, (person.role,))]


@router.post("/me/keys", dependencies=[page_of_form("/me")])
async def make_key(
    *, request: Request, person: LoggedIn, form: Form, layer: Layer, pages: Pages, zone: Zone
) -> Response:
    name = form.one("name", longest=LONGEST_NAME, shown_at="key-name").strip()
    if not name:
        raise InvalidField("key-name", "me_key_no_name")
    scopes = [scope for scope in offered(person) if scope in form.all("scope")]
    if not scopes:
        raise InvalidField("scope", "me_key_no_scope")
    expires_at = _end_of(form.one("expires", longest=_LONGEST_DATE), zone)
    try:
        key, secret = await layer.create_api_key(name, scopes, expires_at=expires_at)
    except InvalidRecord:
        # Everything else is checked: there are too many, or the day is over.
        raise InvalidField("key-name", "me_key_refused") from None
    return pages.page(request, "me/key.html", {"key": key, "secret": secret}, person=person, zone=zone)


@router.post("/me/keys/{key_id}/revoke")
async def revoke_key(_person: LoggedIn, _form: Form, layer: Layer, key_id: str) -> Response:
    if known_id(key_id) is None:
        raise HTTPException(404)
    await layer.revoke_api_key(key_id)
    return redirect_to("/me#keys")


def _end_of(text: str, zone: Zone) -> str | None:
    """The end of the day in the reader's zone; None for no day."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        ends = datetime.combine(day + timedelta(days=1), time(), zone)
    except (ValueError, OverflowError):
        raise InvalidField("expires", "me_key_bad_day", value=text) from None
    if ends <= datetime.now(zone):
        raise InvalidField("expires", "me_key_bad_day", value=text)
    return ends.isoformat()
