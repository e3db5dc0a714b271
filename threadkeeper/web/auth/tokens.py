"""Chainlit's login tokens: find the one that a request carries, verify it, read it, and take it off a request."""

import asyncio
import hashlib
import time
from datetime import UTC, datetime
from typing import NamedTuple

import jwt
from chainlit.auth import cookie as chainlit_cookie
from chainlit.auth import get_token_from_cookies
from chainlit.auth.jwt import get_jwt_secret
from chainlit.config import config as chainlit_config
from chainlit.user import User
from jwt import ImmatureSignatureError, PyJWTError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Scope

from datalayer import Login
from datalayer.cleaning import utc_now
from threadkeeper.web.auth.bearer import bearer_token

# A login token is a JSON Web Token, which begins otherwise.
_BEGIN_OF_KEYS = "tk_"
# By how much the clock of a replica may be ahead.
_MOST_SECONDS_AHEAD = 600
_LAST_SECOND = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


class LoginToken(NamedTuple):
    """The claims of a token. The token itself is left out, so that it cannot leak from here.

    `issued_at` is in seconds since 1970.
    """

    identifier: str
    issued_at: float
    login: Login


def login_cookie(connection: HTTPConnection) -> str | None:
    """The token in the browser's cookie, for data that is bound to this login; None without one."""
    return get_token_from_cookies(connection.cookies) or None


def clear_login_cookie(request: Request, response: Response) -> None:
    """Delete the login cookie from the browser."""
    chainlit_cookie.clear_auth_cookie(request, response)


async def renew_login_cookie(request: Request, response: Response) -> None:
    """Give the browser a new token of its user, because the one of the request has ended."""
    old = login_cookie(request)
    if old is None:
        return
    user = decode_login(old)
    token = issue_login(user)
    if token == old:
        # Tokens have whole seconds: within one, the same user gets the same token.
        await asyncio.sleep(1)
        token = issue_login(user)
    chainlit_cookie.set_auth_cookie(request, response, token)


def carried_token(scope: Scope) -> str | None:
    """The token in the cookie or the `Authorization` header, found in the order in which Chainlit looks for it."""
    connection = HTTPConnection(scope)
    token = get_token_from_cookies(connection.cookies)
    if not token and scope["type"] == "http":
        token = bearer_token(connection.headers.get("authorization", ""))
        if token is not None and token.startswith(_BEGIN_OF_KEYS):
            # An API key, which `auth.keys` checks.
            return None
    return token or None


def read_token(token: str, agent: str | None) -> LoginToken | None:
    """Verify a token as Chainlit does and read its claims; None for an invalid or expired token.

    Args:
        token: the JSON Web Token that Chainlit signed at login.
        agent: the User-Agent of the request.
    """
    try:
        # Chainlit's own check comes first: it decides what a valid login is.
        identifier = decode_login(token).identifier
        claims = jwt.decode(token, options={"verify_signature": False})
        issued_at = float(claims.get("iat", 0))
        # Hash the signed part only: the same signature can be encoded in more than one way.
        signed = token.rpartition(".")[0]
        login = Login(
            hashlib.sha256(signed.encode()).hexdigest(),
            # A token without `iat` counts from its first request.
            _timestamp(issued_at or time.time()),
            _timestamp(float(claims["exp"])),
            agent,
        )
        return LoginToken(identifier, issued_at, login)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None


def decode_login(token: str) -> User:
    """The user of a token, as Chainlit's `decode_jwt` gives it, also if it was issued up to ten minutes from now.

    The clock of the replica that issued it may be ahead; the other replicas would refuse the login until then.

    Raises:
        PyJWTError: the token is not valid, has expired, or is from later.
        RuntimeError: there is no secret, so nobody can log in.
    """
    secret = get_jwt_secret()
    if not secret:
        raise RuntimeError("CHAINLIT_AUTH_SECRET is not set, so no login can be verified")
    claims = jwt.decode(token, secret, algorithms=["HS256"], options={"verify_iat": False})
    if float(claims.get("iat", 0)) > time.time() + _MOST_SECONDS_AHEAD:
        raise ImmatureSignatureError("The login is from later than the clocks of replicas may differ")
    del claims["exp"]
    return User(**claims)


def issue_login(user: User) -> str:
    """A token as Chainlit's `create_jwt` makes it, dated by the clock that also dates changes of passwords."""
    issued_at = utc_now.nanoseconds() // 10**9
    claims = user.to_dict() | {"exp": issued_at + chainlit_config.project.user_session_timeout, "iat": issued_at}
    return jwt.encode(claims, get_jwt_secret() or "", algorithm="HS256")


def accept_other_clocks() -> None:
    """Let Chainlit decode the tokens of its own requests with `decode_login`, and make them with `issue_login`."""
    import chainlit.server  # noqa: PLC0415  it is there when the application is loaded, and takes seconds before

    # Both have imported them by name.
    for module in (chainlit.auth, chainlit.server):
        module.decode_jwt = decode_login  # type: ignore[attr-defined]
        module.create_jwt = issue_login  # type: ignore[attr-defined]


def with_one_cookie_header(scope: Scope) -> Scope:
    """Join several cookie headers: libraries read different ones of them, and all must see the same login."""
    cookies = [value for name, value in scope["headers"] if name == b"cookie"]
    if len(cookies) < 2:
        return scope
    others = [pair for pair in scope["headers"] if pair[0] != b"cookie"]
    return {**scope, "headers": [*others, (b"cookie", b"; ".join(cookies))]}


def without_login(scope: Scope) -> Scope:
    """The request without its login cookie and without its `Authorization` header."""
    kept = [
        pair
        for pair in Headers(scope=scope).get("cookie", "").split(";")
        if not pair.strip().startswith(chainlit_cookie._auth_cookie_name)
    ]
    stripped = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in (b"cookie", b"authorization")]}
    if kept:
        MutableHeaders(scope=stripped)["cookie"] = ";".join(kept).strip()
    return stripped


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(min(max(seconds, 0.0), _LAST_SECOND), UTC).isoformat()
