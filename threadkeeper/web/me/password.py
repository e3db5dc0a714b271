"""The form at `/me` for one's own password, and what it shares with the page of an invitation."""

from fastapi import APIRouter, Request, Response

from datalayer import SYSTEM, acting_as
from threadkeeper.login.passwords import LONGEST_PASSWORD, SHORTEST_PASSWORD, Passwords, Refused
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.auth.tokens import renew_login_cookie
from threadkeeper.web.pages.dependencies import Accounts, Layer
from threadkeeper.web.pages.failures import InvalidField, PageRoute
from threadkeeper.web.pages.forms import Form, Posted, page_of_form, redirect_to

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.post("/me/password", dependencies=[page_of_form("/me")])
async def change_password(request: Request, person: LoggedIn, form: Form, layer: Layer, accounts: Accounts) -> Response:
    """Change the password of the acting user, and end all logins but the one of this browser."""
    if not await accounts.confirm(person.identifier, form.secret("old", longest=LONGEST_PASSWORD)):
        raise InvalidField("old", "password_wrong")
    password_hash = await new_password(form, accounts.passwords)
    with acting_as(SYSTEM):
        await layer.set_password(person.identifier, password_hash)
    response = redirect_to("/me?password=1#account")
    await renew_login_cookie(request, response)
    return response


async def new_password(form: Posted, passwords: Passwords) -> str:
    """The hash of the password in the fields `password` and `again`.

    Raises:
        InvalidField: the two differ, or the password breaks a rule.
    """
    password = form.secret("password", longest=LONGEST_PASSWORD)
    if password != form.secret("again", longest=LONGEST_PASSWORD):
        raise InvalidField("again", "password_differs")
    try:
        return await passwords.hash(password)
    except Refused:
        raise InvalidField("password", "password_short", least=SHORTEST_PASSWORD, most=LONGEST_PASSWORD) from None
