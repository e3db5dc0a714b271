"""The page at `/invitation`: who has an invitation's link sets the password of the invited user, once.

The secret is in the query and in a hidden field, because paths are logged.
"""

from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer import SYSTEM, Invitation, NotFound, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.web.me.password import new_password
from threadkeeper.web.pages.dependencies import Accounts, Layer, Pages
from threadkeeper.web.pages.failures import InvalidField, PageRoute, refuse
from threadkeeper.web.pages.forms import read_fields
from threadkeeper.web.pages.shell import PageWriter
from threadkeeper.web.pages.zone import Zone

_LONGEST_FORM = 10_000

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/invitation")
async def read_invitation(request: Request, layer: Layer, pages: Pages, zone: Zone) -> Response:
    secret = request.query_params.get("key", "")
    invitation = await _known(layer, secret)
    if invitation is None:
        return _over(request, pages)
    return _form(request, pages, invitation, secret, zone)


@router.post("/invitation")
async def accept_invitation(
    *, request: Request, layer: Layer, pages: Pages, accounts: Accounts, zone: Zone
) -> Response:
    # The secret, which no other site knows, is in place of a form token.
    form = await read_fields(request, most_bytes=_LONGEST_FORM)
    secret = form.one("key")
    # Before the password is hashed, which takes time that a visitor without an invitation must not cost.
    invitation = await _known(layer, secret)
    if invitation is None:
        return _over(request, pages)
    try:
        password_hash = await new_password(form, accounts.passwords)
    except InvalidField as error:
        refuse(request, error)
        return _form(request, pages, invitation, secret, zone)
    try:
        with acting_as(SYSTEM):
            accepted = await layer.accept_invitation(secret, password_hash)
    except NotFound:
        return _over(request, pages)
    return pages.page(request, "me/invited.html", {"invitation": accepted}, person=None)


def _form(request: Request, pages: PageWriter, invitation: Invitation, secret: str, zone: ZoneInfo) -> Response:
    values = {"invitation": invitation, "secret": secret}
    return pages.page(request, "me/invitation.html", values, person=None, zone=zone)


def _over(request: Request, pages: PageWriter) -> Response:
    return pages.page(request, "me/invitation_over.html", {}, person=None, status=400)


async def _known(layer: ChainlitLayer, secret: str) -> Invitation | None:
    """The invitation of this secret; None if it has ended."""
    if not secret:
        raise HTTPException(404)
    with acting_as(SYSTEM):
        return await layer.find_invitation(secret)
