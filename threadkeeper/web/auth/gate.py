"""Checks Chainlit's login tokens against the accounts, and sets the acting user of the data layer.

Chainlit signs a token at login and accepts it until it expires. The gate also looks up the account for each request
and each websocket message. A request whose account is deleted or disabled, whose password has changed since, or whose
login has ended is treated as anonymous. The first request with a token records the login, by the token's hash.
"""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datalayer import SYSTEM, Account, DataLayerError, Login, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.login.accounts import printable
from threadkeeper.web.auth.tokens import (
    LoginToken,
    carried_token,
    read_token,
    with_one_cookie_header,
    without_login,
)
from threadkeeper.web.root_path import own_path

logger = logging.getLogger(__name__)

# Paths without a user: no account is looked up, so they are served while the database is unreachable. The gateway has
# keys in place of logins, and passes the keys of others on.
_PUBLIC_FOLDERS = ("/public/", "/assets/", "/avatars/", "/gateway/")
_PUBLIC_PATHS = ("/favicon", "/logo", "/health", "/ready", "/metrics")
_MOST_REMEMBERED = 10_000
_SCOPE_KEY = "threadkeeper.visitor"
_LOGIN_KEY = "threadkeeper.login"
_SEEN_EVERY_SECONDS = 300.0


class Person(NamedTuple):
    """A logged-in user with the current role of the account. `id` is the user's id in the data layer."""

    id: str
    identifier: str
    role: str


def person_at(connection: HTTPConnection) -> Person | None:
    """The logged-in user whom the gate found; None for a visitor.

    Raises:
        StorageUnavailable: the request has a login, and its account cannot be looked up now.
    """
    found: Person | DataLayerError | None = connection.scope.get(_SCOPE_KEY)
    if isinstance(found, DataLayerError):
        raise found
    return found


def login_at(connection: HTTPConnection) -> Login | None:
    """The login of this request, as read from its token; None for a visitor."""
    found: LoginToken | None = connection.scope.get(_LOGIN_KEY)
    return found.login if found else None


class Gate:
    """ASGI middleware that sets `datalayer.acting_user` for a request and for all tasks started from it."""

    def __init__(
        self,
        layer: ChainlitLayer,
        *,
        remember_seconds: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Configure the cache of lookups.

        Args:
            layer: where the accounts and logins are.
            remember_seconds: how long a lookup is cached; a disabled account is locked out after at most this long.
            clock: gives the time in seconds.
        """
        self._layer = layer
        self._remember_seconds = remember_seconds
        self._clock = clock
        # By the hash of the token. Rejected tokens are cached too, with None.
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._recording: dict[str, asyncio.Task[None]] = {}

    async def __call__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        scope = {**with_one_cookie_header(scope), _SCOPE_KEY: None, _LOGIN_KEY: None}
        carried = None if _is_public(own_path(scope)) else carried_token(scope)
        token = read_token(carried, Headers(scope=scope).get("user-agent")) if carried else None
        user = token.identifier if token else None
        if carried and token is None:
            # The token is invalid: later readers of the headers must not see it either.
            scope = without_login(scope)
        if token is not None:
            try:
                person = await self._person(token)
                active, scope[_SCOPE_KEY], scope[_LOGIN_KEY] = person is not None, person, token if person else None
                # The name as it is stored: the token may have it in another spelling.
                user = person.identifier if person else None
            except DataLayerError as error:
                logger.error("could not look up the account %s: %s", printable(token.identifier), error)
                if not _is_page(scope):
                    await _refuse(
                        scope, receive, send, 503, "The storage cannot be reached at the moment. Please try again."
                    )
                    return
                # Chainlit's page is the same for everyone and shows its own error for data that it cannot load.
                active, scope[_SCOPE_KEY] = False, error
            if not active:
                if scope["type"] == "websocket" or "/ws/socket.io" in scope["path"]:
                    await _refuse(scope, receive, send, 401, "This account is not active.")
                    return
                user, scope = None, without_login(scope)
            elif scope["type"] == "websocket":
                receive = self._while_active(token, receive, send)
        with acting_as(user):
            await app(scope, receive, send)

    async def admits(self, token: str | None) -> bool:
        """Whether the token is a valid login now: the account exists and is enabled, and the login has not ended.

        Raises:
            StorageUnavailable: the account cannot be looked up now.
        """
        read = read_token(token, None) if token else None
        return read is not None and await self._person(read) is not None

    async def _person(self, token: LoginToken) -> Person | None:
        """The user of a valid login; None for any other."""
        digest, now = token.login.token_hash, self._clock()
        seen = self._seen.get(digest)
        if seen is not None and now - seen.at < self._remember_seconds:
            return seen.person
        with acting_as(SYSTEM):
            account, recorded = await self._layer.get_account_and_login(token.identifier, digest)
        person = None
        if account is not None and _is_valid(token, account, recorded):
            person = Person(account.user.id, account.user.identifier, account.user.role)
            if recorded is None or time.time() - _seconds(recorded.seen_at) >= _SEEN_EVERY_SECONDS:
                self._record(token, person.id)
        self._seen.pop(digest, None)
        self._seen[digest] = _Seen(now, person)
        if len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return person

    def _record(self, token: LoginToken, user_id: str) -> None:
        """Record in the background that the login was used; one write per login at a time."""
        digest = token.login.token_hash
        if digest not in self._recording:
            task = self._recording[digest] = asyncio.create_task(self._see(token, user_id), name="record-login")
            task.add_done_callback(lambda _: self._recording.pop(digest))

    async def _see(self, token: LoginToken, user_id: str) -> None:
        try:
            with acting_as(SYSTEM):
                await self._layer.see_login(user_id, token.login)
        except DataLayerError as error:
            # The user is let in anyway; the next lookup of the account tries again.
            logger.error("could not record a login of %s: %s", printable(token.identifier), error)

    def _while_active(self, token: LoginToken, receive: Receive, send: Send) -> Receive:
        """Check the login for each message: a websocket is opened once and can stay open for days."""

        async def receive_while_active() -> Message:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            try:
                active = await self._person(token) is not None
            except DataLayerError:
                # The read or write that the message causes fails by itself and is reported there.
                return message
            if active:
                return message
            await send({"type": "websocket.close", "code": 1008, "reason": "This account is not active."})
            return {"type": "websocket.disconnect", "code": 1008}

        return receive_while_active


class _Seen(NamedTuple):
    at: float
    person: Person | None


def _seconds(moment: str | None) -> float:
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0


def _is_public(path: str) -> bool:
    return path.startswith(_PUBLIC_FOLDERS) or path in _PUBLIC_PATHS


def _is_page(scope: Scope) -> bool:
    """Whether a browser requests Chainlit's page, under any of its addresses, for a tab."""
    wanted = scope["type"] == "http" and scope["method"] == "GET" and not own_path(scope).startswith("/files/")
    return wanted and "text/html" in Headers(scope=scope).get("accept", "")


def _is_valid(token: LoginToken, account: Account, recorded: Login | None) -> bool:
    """Whether neither the login has ended nor the account has changed since in a way that ends it."""
    if account.user.disabled_at is not None or (recorded is not None and recorded.ended_at is not None):
        return False
    made = _seconds(account.user.created_at)
    # An older token of the same name belongs to a deleted account. An adopted account can have a creation time in the
    # future by this machine's clock.
    made = made if made <= time.time() else 0.0
    valid_since = max(_seconds(account.password_changed_at), _seconds(account.logins_ended_at), made)
    # Tokens have whole seconds.
    return token.issued_at >= math.floor(valid_since)


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, words: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008 if status == 401 else 1013, "reason": words})
    else:
        await JSONResponse({"detail": words}, status)(scope, receive, send)
