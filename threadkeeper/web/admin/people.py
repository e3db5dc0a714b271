"""The list of users at `/admin/people`, and new users, who set their password themselves by an invitation."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer import SYSTEM, AlreadyExists, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import clean_text, utc_in
from datalayer.records.chat import ROLES
from threadkeeper.login.passwords import (
    INVITED_SECONDS,
    LONGEST_IDENTIFIER,
    Refused,
    check_identifier,
    generate_password,
)
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import Admin
from threadkeeper.web.pages.addresses import PublicUrl
from threadkeeper.web.pages.cursors import cursor_of
from threadkeeper.web.pages.dependencies import Accounts, Layer, Pages
from threadkeeper.web.pages.failures import InvalidField, InvalidInput, PageRoute
from threadkeeper.web.pages.forms import Form, page_of_form
from threadkeeper.web.pages.zone import Zone

ROWS_A_PAGE = 50
COST_DAYS = 30
_LOCAL = ("localhost", "127.0.0.1", "::1")
_DAY_SECONDS = timedelta(days=1).total_seconds()
INVITATION_DAYS = round(INVITED_SECONDS / _DAY_SECONDS)

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def cost_since() -> str:
    """From when on the cost of a user's calls is shown."""
    return utc_in(-COST_DAYS * _DAY_SECONDS)


@router.get("/admin/people")
async def list_people(request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone) -> Response:
    words = clean_text(request.query_params.get("words", "")).strip()
    cursor = cursor_of(request.query_params)
    if len(words) > LONGEST_IDENTIFIER:
        raise InvalidInput("bad_cursor")
    with acting_as(SYSTEM):
        found = await layer.page_of_users(words=words, cursor=cursor, limit=ROWS_A_PAGE, cost_since=cost_since())
    values = {
        "found": found,
        "words": words,
        "cursor": cursor,
        "roles": ROLES,
        "rows_a_page": ROWS_A_PAGE,
        "cost_days": COST_DAYS,
        "invitation_days": INVITATION_DAYS,
    }
    return pages.page(request, "admin/people.html", values, person=person, zone=zone)


@router.post("/admin/people", dependencies=[page_of_form("/admin/people")])
async def add_person(
    *,
    request: Request,
    person: Admin,
    form: Form,
    layer: Layer,
    pages: Pages,
    zone: Zone,
    accounts: Accounts,
    public_url: PublicUrl,
) -> Response:
    try:
        name = check_identifier(form.one("name"))
    except Refused:
        raise InvalidField("name", "admin_bad_name", most=LONGEST_IDENTIFIER) from None
    role = form.one("role")
    if role not in ROLES:
        raise InvalidField("role", "bad_choice", value=role[:60])
    # Nobody knows this password. With one, nobody from another provider can take the name before the invited person.
    unknown = await accounts.passwords.hash(generate_password())
    try:
        with acting_as(SYSTEM):
            added = await layer.add_account(name, unknown, role, by=person.identifier)
    except AlreadyExists:
        raise InvalidField("name", "admin_name_taken", name=name) from None
    values = await invited(layer, added.identifier, person, public_url)
    return pages.page(request, "admin/invited.html", {**values, "is_new": True}, person=person, zone=zone)


async def invited(layer: ChainlitLayer, identifier: str, person: Person, public_url: str) -> dict[str, Any]:
    """Invite the user; the values of the page that shows the link, once."""
    with acting_as(SYSTEM):
        made, secret = await layer.invite(identifier, seconds=INVITED_SECONDS, by=person.identifier)
    is_local = urlsplit(public_url).hostname in _LOCAL
    return {"invitation": made, "link": f"{public_url}/invitation?key={secret}", "is_local": is_local}


async def known_user(layer: ChainlitLayer, user_id: str) -> Any:
    """The user with this id, as in the list.

    Raises:
        HTTPException: there is none.
    """
    with acting_as(SYSTEM):
        found = await layer.listed_user(user_id, cost_since=cost_since())
    if found is None:
        raise HTTPException(404)
    return found
