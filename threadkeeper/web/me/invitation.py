"""The page at `/invitation`: who has an invitation's link sets the password of the invited user, once.

The secret is in the query and in a hidden field, because paths are logged.
"""

from fastapi import APIRouter, HTTPException, Request, Response

from datalayer import SYSTEM, Invitation, NotFound, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.web.me.password import new_password
from threadkeeper.web.pages.dependencies import Accounts, Layer, Pages
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.forms import read_fields
from threadkeeper.web.pages.zone import Zone

_LONGEST_FORM = 10_000

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/invitation")
async def read_invitation(request: Request, layer: Layer, pages: Pages, zone: Zone) -> Response:
    secret = request.query_params.get("key", "")
    invitation = await _known(layer, secret)
    values = {"invitation": invitation, "secret": secret}
    return pages.page(request, "me/invitation.html", values, person=None, zone=zone)


@router.post("/invitation")
async def accept_invitation(request: Request, layer: Layer, pages: Pages, accounts: Accounts) -> Response:
    # The secret, which no other site knows, is in place of a form token.
    form = await read_fields(request, most_bytes=_LONGEST_FORM)
    secret = form.one("key")
    # Before the password is hashed, which takes time that a visitor without an invitation must not cost.
    await _known(layer, secret)
    password_hash = await new_password(form, accounts.passwords)
    try:
        with acting_as(SYSTEM):
            accepted = await layer.accept_invitation(secret, password_hash)
    except NotFound:
        raise InvalidInput("invitation_over") from None
    return pages.page(request, "me/invited.html", {"invitation": accepted}, person=None)


async def _known(layer: ChainlitLayer, secret: str) -> Invitation:
    with acting_as(SYSTEM):
        found = await layer.find_invitation(secret)
    if found is None:
        if not secret:
            raise HTTPException(404)
        raise InvalidInput("invitation_over")
    return found
