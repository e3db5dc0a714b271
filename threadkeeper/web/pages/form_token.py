"""The token that ties a form to the login under which its page was made."""

import hashlib
import hmac

from starlette.requests import HTTPConnection

from threadkeeper.web.auth.tokens import login_cookie

TOKEN_FIELD = "form_token"  # noqa: S105  its name, not a token


def form_token(connection: HTTPConnection) -> str:
    """What the forms of a page carry; empty for a visitor, for whom there are no forms.

    Made of the login's cookie, which scripts cannot read, and not to be turned back into it. No other login has it.
    """
    login = login_cookie(connection)
    return hmac.new(login.encode(), b"a form of Threadkeeper", hashlib.sha256).hexdigest() if login else ""


def is_from_this_login(connection: HTTPConnection, given: str) -> bool:
    """Whether the token is that of this login, compared in a time that tells nothing of it."""
    expected = form_token(connection)
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())
