"""The token that binds a form to the login under which its page was rendered."""

import hashlib
import hmac

from starlette.requests import HTTPConnection

from threadkeeper.web.auth.tokens import login_cookie

TOKEN_FIELD = "form_token"  # noqa: S105  the name of the field


def form_token(connection: HTTPConnection) -> str:
    """The token for the forms of a page; empty for a visitor, who gets no forms.

    It is an HMAC keyed with the login cookie, which scripts cannot read. No other login has the same token.
    """
    login = login_cookie(connection)
    return hmac.new(login.encode(), b"a form of Threadkeeper", hashlib.sha256).hexdigest() if login else ""


def is_from_this_login(connection: HTTPConnection, given: str) -> bool:
    """Whether the token belongs to this login, compared in constant time."""
    expected = form_token(connection)
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())
