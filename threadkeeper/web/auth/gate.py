"""Who is acting: Chainlit's logins, checked against the accounts, and told to the data layer for every request.

Chainlit signs a token at login and trusts it until it expires. Here each request and each websocket is also asked
whether its account still exists, is not disabled and has had no new password since, and whether the login itself was
ended; whose is not so is nobody, and Chainlit treats them so. A login is recorded when it is first seen, by a hash.
"""

import asyncio
import hashlib
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import jwt
from chainlit.auth import cookie as chainlit_cookie
from chainlit.auth import get_token_from_cookies
from chainlit.auth.jwt import decode_jwt
from chainlit.config import config
from chainlit.oauth_providers import get_configured_oauth_providers
from chainlit.user import User
from jwt import PyJWTError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datalayer import SYSTEM, Account, DataLayerError, Login, acting_as
from threadkeeper.login.accounts import AccountStore, Authenticator, admit_external, printable

logger = logging.getLogger(__name__)

# What needs no user: no account is looked up for it, so that it is served while the database is away.
_FOLDERS_FOR_EVERYONE = ("/public/", "/assets/", "/avatars/")
_PATHS_FOR_EVERYONE = ("/favicon", "/logo", "/health", "/ready", "/metrics")
_MOST_REMEMBERED = 10_000
_LOG_OUT_SECONDS = 2.0
_SCOPE_KEY = "threadkeeper.visitor"
_LOGIN_KEY = "threadkeeper.login"
_SEEN_EVERY_SECONDS = 300.0
_LAST_SECOND = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


class LoginStore(AccountStore, Protocol):
    """What is needed here of the data layer."""

    async def get_account_and_login(self, identifier: str, token_hash: str) -> tuple[Account | None, Login | None]: ...
    async def see_login(self, user_id: str, login: Login) -> None: ...
    async def log_out(self, user_id: str, login: Login) -> None: ...


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


def login_at(connection: HTTPConnection) -> Login | None:
    """The login of who is there, as it was read from its token; None for a visitor."""
    found: _Token | None = connection.scope.get(_LOGIN_KEY)
    return found.login if found else None


def login_token(connection: HTTPConnection) -> str | None:
    """The login as the browser keeps it, for what is bound to it; None without one."""
    return get_token_from_cookies(connection.cookies) or None


def end_login(request: Request, response: Response) -> None:
    """Have the browser forget its login."""
    chainlit_cookie.clear_auth_cookie(request, response)


class Gate:
    """ASGI middleware that sets `datalayer.acting_user` for a request and for everything started from it."""

    def __init__(
        self,
        layer: Callable[[], LoginStore],
        *,
        remember_seconds: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """So long may pass until a disabled account is shut out, or an ended login; so seldom is the database asked."""
        self._layer = layer
        self._remember_seconds = remember_seconds
        self._clock = clock
        # By the hash of a token, good or not.
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._recording: dict[str, asyncio.Task[None]] = {}

    async def __call__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        scope = {**_with_one_cookie_header(scope), _SCOPE_KEY: None, _LOGIN_KEY: None}
        carried = None if _is_for_everyone(scope["path"]) else _carried(scope)
        token = _read(carried, Headers(scope=scope).get("user-agent")) if carried else None
        user = token.identifier if token else None
        if carried and token is None:
            # Nobody's here, and nobody's for whoever reads the headers after this.
            scope = _without_login(scope)
        if token is not None:
            try:
                person = await self._person(token)
                active, scope[_SCOPE_KEY], scope[_LOGIN_KEY] = person is not None, person, token if person else None
            except DataLayerError as error:
                logger.error("the account %s could not be looked up: %s", printable(token.identifier), error)
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
                receive = self._while_active(token, receive, send)
        with acting_as(user):
            await app(scope, receive, send)

    async def admits(self, token: str | None) -> bool:
        """Whether the login of this token is good now: there is its account, and neither is disabled or over.

        Raises:
            StorageUnavailable: that cannot be looked up now.
        """
        read = _read(token, None) if token else None
        return read is not None and await self._person(read) is not None

    async def _person(self, token: "_Token") -> Person | None:
        """Who is logged in by the token, if it is good."""
        digest, now = token.login.token_hash, self._clock()
        seen = self._seen.get(digest)
        if seen is not None and now - seen.at < self._remember_seconds:
            return seen.person
        with acting_as(SYSTEM):
            account, recorded = await self._layer().get_account_and_login(token.identifier, digest)
        person = None
        if account is not None and _is_good(token, account, recorded):
            person = Person(account.user.id, account.user.identifier, account.user.role)
            if recorded is None or time.time() - _seconds(recorded.seen_at) >= _SEEN_EVERY_SECONDS:
                self._record(token, person.id)
        self._seen.pop(digest, None)
        self._seen[digest] = _Seen(now, person)
        if len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return person

    def _record(self, token: "_Token", user_id: str) -> None:
        """Have it recorded that the login was seen; nobody waits for that, and one time at once is enough."""
        digest = token.login.token_hash
        if digest not in self._recording:
            task = self._recording[digest] = asyncio.create_task(self._see(token, user_id), name="record-login")
            task.add_done_callback(lambda _: self._recording.pop(digest))

    async def _see(self, token: "_Token", user_id: str) -> None:
        try:
            with acting_as(SYSTEM):
                await self._layer().see_login(user_id, token.login)
        except DataLayerError as error:
            # They are let in all the same, and the next look at the account tries again.
            logger.error("a login of %s could not be recorded: %s", printable(token.identifier), error)

    def _while_active(self, token: "_Token", receive: Receive, send: Send) -> Receive:
        """A websocket is opened once and speaks for days: its messages are let through while the login is good."""

        async def receive_while_active() -> Message:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            try:
                active = await self._person(token) is not None
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
    person: Person | None


class _Token(NamedTuple):
    """What a token says. It is not here itself, so that it gets nowhere from here."""

    identifier: str
    issued_at: float
    login: Login


def _seconds(moment: str | None) -> float:
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(min(max(seconds, 0.0), _LAST_SECOND), UTC).isoformat()


def _is_for_everyone(path: str) -> bool:
    return path.startswith(_FOLDERS_FOR_EVERYONE) or path in _PATHS_FOR_EVERYONE


def _is_page(scope: Scope) -> bool:
    """Whether a browser asks for Chainlit's page, under whichever of its addresses, to show it in a tab."""
    wanted = scope["type"] == "http" and scope["method"] == "GET" and not scope["path"].startswith("/files/")
    return wanted and "text/html" in Headers(scope=scope).get("accept", "")


def _is_good(token: _Token, account: Account, recorded: Login | None) -> bool:
    """Whether the login is over by itself, or by what became of its account since."""
    if account.user.disabled_at is not None or (recorded is not None and recorded.ended_at is not None):
        return False
    made = _seconds(account.user.created_at)
    # Whoever had the name before is somebody else. An adopted account may have been made in what is the future here.
    made = made if made <= time.time() else 0.0
    good_since = max(_seconds(account.password_changed_at), _seconds(account.logins_ended_at), made)
    # A token's time is in whole seconds.
    return token.issued_at >= math.floor(good_since)


def _with_one_cookie_header(scope: Scope) -> Scope:
    """With several, one library reads the last and another the first: a login must be the same for all of them."""
    cookies = [value for name, value in scope["headers"] if name == b"cookie"]
    if len(cookies) < 2:
        return scope
    others = [pair for pair in scope["headers"] if pair[0] != b"cookie"]
    return {**scope, "headers": [*others, (b"cookie", b"; ".join(cookies))]}


def _carried(scope: Scope) -> str | None:
    """The token that the request carries, found the way Chainlit does it."""
    connection = HTTPConnection(scope)
    token = get_token_from_cookies(connection.cookies)
    if not token and scope["type"] == "http":
        scheme, _, credentials = connection.headers.get("authorization", "").partition(" ")
        token = credentials.strip() if scheme.lower() == "bearer" else None
    return token or None


def _read(token: str, agent: str | None) -> _Token | None:
    """What a token says, verified the way Chainlit does it; None where it is no login, or one that has expired."""
    try:
        # Chainlit's own look at the token comes first: it is the one that says what is a login.
        identifier = decode_jwt(token).identifier
        claims = jwt.decode(token, options={"verify_signature": False})
        issued_at = float(claims.get("iat", 0))
        # Of what is signed, not of the signature: that can be spelled in more than one way.
        signed = token.rpartition(".")[0]
        login = Login(
            hashlib.sha256(signed.encode()).hexdigest(),
            # One that does not say when it was made began when it was first seen.
            _moment(issued_at or time.time()),
            _moment(float(claims["exp"])),
            agent,
        )
        return _Token(identifier, issued_at, login)
    except (PyJWTError, ValueError, TypeError, KeyError):
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
    layer: Callable[[], LoginStore], *, auth_header: str | None = None, authenticator: Authenticator | None = None
) -> None:
    """Tell Chainlit how people log in: always with a password; by OAuth where its variables are set; by a header.

    And how they log out: the login is over then, wherever its cookie was copied to.

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

    async def end(person: Person, login: Login) -> None:
        try:
            with acting_as(SYSTEM):
                await layer().log_out(person.id, login)
        except DataLayerError as error:
            logger.error("a login of %s could not be ended: %s", printable(person.identifier), error)

    ending: set[asyncio.Task[None]] = set()

    async def log_out(request: Request, _response: Response) -> dict[str, bool]:
        person, login = person_at(request), login_at(request)
        if person is not None and login is not None:
            task = asyncio.create_task(end(person, login), name="end-login")
            ending.add(task)
            task.add_done_callback(ending.discard)
            # The browser forgets its login all the same, which is what can be done for them while the store is away.
            await asyncio.wait({task}, timeout=_LOG_OUT_SECONDS)
        return {"success": True}

    config.code.on_logout = log_out
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
