"""Who is acting: Chainlit's logins, checked against the accounts, and told to the data layer for every request.

Chainlit signs a cookie at login and trusts it until it expires. Here each request and each websocket is also asked
whether its account still exists, is not disabled and has had no new password since; whose account is not so is nobody,
and Chainlit treats them so.
"""

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import jwt
from chainlit.auth import cookie as chainlit_cookie
from chainlit.auth import get_token_from_cookies
from chainlit.auth.jwt import decode_jwt
from chainlit.config import config
from chainlit.oauth_providers import get_configured_oauth_providers
from chainlit.user import User
from jwt import PyJWTError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datalayer import SYSTEM, DataLayerError, acting_as
from threadkeeper.accounts import AccountStore, Authenticator, admit_external, printable

logger = logging.getLogger(__name__)

# What needs no user: no account is looked up for it, so that it is served while the database is away.
_FOLDERS_FOR_EVERYONE = ("/public/", "/assets/", "/avatars/")
_PATHS_FOR_EVERYONE = ("/favicon", "/logo", "/health", "/ready", "/metrics")
_MOST_REMEMBERED = 10_000
_SCOPE_KEY = "threadkeeper.visitor"


class Person(NamedTuple):
    """Who is logged in, as the account says it now. `id` is the user's in the data layer."""

    id: str
    identifier: str
    role: str


def person_at(connection: HTTPConnection) -> Person | None:
    """Who is there, as the gate found it; None for a visitor who is not logged in.

    Raises:
        StorageUnavailable: there is a login, and whose it is cannot be looked up now.
    """
    found: Person | DataLayerError | None = connection.scope.get(_SCOPE_KEY)
    if isinstance(found, DataLayerError):
        raise found
    return found


class Gate:
    """ASGI middleware that sets `datalayer.acting_user` for a request and for everything started from it."""

    def __init__(
        self,
        layer: Callable[[], AccountStore],
        *,
        remember_seconds: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """So long may pass until a disabled account is shut out, and so seldom is the database asked."""
        self._layer = layer
        self._remember_seconds = remember_seconds
        self._clock = clock
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    async def __call__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        login = None if _is_for_everyone(scope["path"]) else _login(scope)
        user = login.identifier if login else None
        scope = {**scope, _SCOPE_KEY: None}
        if login is not None:
            try:
                person = await self._person(login.identifier, login.issued_at)
                active, scope[_SCOPE_KEY] = person is not None, person
            except DataLayerError as error:
                logger.error("the account %s could not be looked up: %s", printable(login.identifier), error)
                if not _is_page(scope):
                    await _refuse(
                        scope, receive, send, 503, "The storage cannot be reached at the moment. Please try again."
                    )
                    return
                # The page itself is the same for everyone, and says in words what it cannot get.
                active, scope[_SCOPE_KEY] = False, error
            if not active:
                if scope["type"] == "websocket" or "/ws/socket.io" in scope["path"]:
                    await _refuse(scope, receive, send, 401, "This account is not active.")
                    return
                user, scope = None, _without_login(scope)
            elif scope["type"] == "websocket":
                receive = self._while_active(login, receive, send)
        with acting_as(user):
            await app(scope, receive, send)

    async def is_active(self, identifier: str, issued_at: float = math.inf) -> bool:
        """Whether there is an account of this identifier that is not disabled, and a login of this time is good for it.

        Args:
            identifier: the user's.
            issued_at: when the login was, in seconds since 1970. One before the last change of the password is over.

        Raises:
            StorageUnavailable: that cannot be looked up now.
        """
        return await self._person(identifier, issued_at) is not None

    async def _person(self, identifier: str, issued_at: float) -> Person | None:
        now = self._clock()
        seen = self._seen.get(identifier)
        if seen is None or now - seen.at >= self._remember_seconds:
            with acting_as(SYSTEM):
                account = await self._layer().get_account(identifier)
            if account is None or account.user.disabled_at is not None:
                self._seen.pop(identifier, None)
                return None
            person = Person(account.user.id, account.user.identifier, account.user.role)
            seen = self._seen[identifier] = _Seen(now, _seconds(account.password_changed_at), person)
            self._seen.move_to_end(identifier)
            if len(self._seen) > _MOST_REMEMBERED:
                self._seen.popitem(last=False)
        # A token's time is in whole seconds.
        return seen.person if issued_at >= math.floor(seen.password_changed_at) else None

    def _while_active(self, login: "_Login", receive: Receive, send: Send) -> Receive:
        """A websocket is opened once and speaks for days: its messages are let through while the login is good."""

        async def receive_while_active() -> Message:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            try:
                active = await self.is_active(login.identifier, login.issued_at)
            except DataLayerError:
                # The write or read that the message asks for fails by itself, and is told.
                return message
            if active:
                return message
            await send({"type": "websocket.close", "code": 1008, "reason": "This account is not active."})
            return {"type": "websocket.disconnect", "code": 1008}

        return receive_while_active


class _Seen(NamedTuple):
    at: float
    password_changed_at: float
    person: Person


class _Login(NamedTuple):
    identifier: str
    issued_at: float


def _seconds(moment: str | None) -> float:
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0


def _is_for_everyone(path: str) -> bool:
    return path.startswith(_FOLDERS_FOR_EVERYONE) or path in _PATHS_FOR_EVERYONE


def _is_page(scope: Scope) -> bool:
    """Whether a browser asks for Chainlit's page, under whichever of its addresses, to show it in a tab."""
    wanted = scope["type"] == "http" and scope["method"] == "GET" and not scope["path"].startswith("/files/")
    return wanted and "text/html" in Headers(scope=scope).get("accept", "")


def _login(scope: Scope) -> _Login | None:
    """Whose login the request carries, found and verified the way Chainlit does it."""
    connection = HTTPConnection(scope)
    token = get_token_from_cookies(connection.cookies)
    if not token and scope["type"] == "http":
        scheme, _, credentials = connection.headers.get("authorization", "").partition(" ")
        token = credentials.strip() if scheme.lower() == "bearer" else None
    if not token:
        return None
    try:
        # Chainlit's own look at the token comes first: it is the one that says what is a login.
        identifier = decode_jwt(token).identifier
        claims = jwt.decode(token, options={"verify_signature": False})
        return _Login(identifier, float(claims.get("iat", 0)))
    except (PyJWTError, ValueError, TypeError, KeyError):
        # Expired, signed by someone else, or no login at all: a bearer token may also be one for /metrics.
        return None


def _without_login(scope: Scope) -> Scope:
    kept = [
        pair
        for pair in Headers(scope=scope).get("cookie", "").split(";")
        if not pair.strip().startswith(chainlit_cookie._auth_cookie_name)
    ]
    stripped = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in (b"cookie", b"authorization")]}
    if kept:
        MutableHeaders(scope=stripped)["cookie"] = ";".join(kept).strip()
    return stripped


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, words: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008 if status == 401 else 1013, "reason": words})
    else:
        await JSONResponse({"detail": words}, status)(scope, receive, send)


def register_logins(
    layer: Callable[[], AccountStore], *, auth_header: str | None = None, authenticator: Authenticator | None = None
) -> None:
    """Tell Chainlit how people log in: always with a password; by OAuth where its variables are set; by a header.

    The callbacks are set without Chainlit's decorators, which turn every exception into "wrong password": a database
    that is away is told as what it is.

    Args:
        layer: gives the data layer.
        auth_header: the header in which a trusted proxy names the user.
        authenticator: checks names and passwords; without one, a new one on the layer.
    """

    checked = authenticator or Authenticator(layer())

    async def by_password(identifier: str, password: str) -> User | None:
        user = await checked.verify(identifier, password)
        return User(identifier=user.identifier, metadata={"provider": "credentials"}) if user else None

    async def by_header(headers: Headers) -> User | None:
        identifier = _only_value(headers, auth_header or "")
        if identifier is None or not await admit_external(layer(), identifier, "header"):
            return None
        return User(identifier=identifier, metadata={"provider": "header"})

    async def by_oauth(
        provider_id: str, _token: str, _profile: dict[str, str], user: User, _id_token: str | None = None
    ) -> User | None:
        provider = user.metadata.get("provider") or provider_id
        if not await admit_external(layer(), user.identifier, provider):
            return None
        # A picture at the provider's would have the page ask another host on every visit.
        kept = {key: value for key, value in user.metadata.items() if key != "image"}
        return User(identifier=user.identifier, display_name=user.display_name, metadata={**kept, "provider": provider})

    config.code.password_auth_callback = by_password
    config.code.header_auth_callback = by_header if auth_header else None
    config.code.oauth_callback = by_oauth if get_configured_oauth_providers() else None
    if auth_header:
        logger.warning(
            "The header %s is trusted: whoever gets past the proxy can be anyone. Let only the proxy reach the port.",
            auth_header,
        )


def _only_value(headers: Headers, name: str) -> str | None:
    """The header's value, unless it is missing or there are two, of which one may be a visitor's own."""
    values = headers.getlist(name)
    if len(values) != 1:
        if values:
            logger.warning("login refused: the header %s came %d times", name, len(values))
        return None
    try:
        return values[0].encode("latin-1").decode() or None
    except UnicodeDecodeError:
        return values[0]
