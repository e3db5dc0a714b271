"""Checks the API keys of requests: who asks, what the key allows, and how many requests a minute.

A key that is found is remembered for seconds, so a revoked one is out within seconds on every replica. A wrong key
costs a hash, and those of one address are looked up one after another, with growing pauses. While a hundred of them
wait, more are refused at once, before a task is started for them. Keys that were right before do not wait.
"""

import asyncio
import hashlib
import logging
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from datalayer import SYSTEM, ApiKey, DataLayerError, Rate, acting_as, acting_user
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.records.keys import ROLES_OF_SCOPES, KeyScope
from threadkeeper.login.throttle import LONGEST_PAUSE_SECONDS, LoginThrottle, TooManyTries
from threadkeeper.web.auth.bearer import bearer_token

logger = logging.getLogger(__name__)

_MOST_REMEMBERED = 10_000
# Of one address: requests with keys that were not right before, and lookups of such keys, one after another.
_MOST_WAITING = 100
_PATIENCE_SECONDS = LONGEST_PAUSE_SECONDS + 5
_SEEN_EVERY_SECONDS = 60.0
_RATE_KEY = "threadkeeper.rate"


class KeyRefused(Exception):
    """A request is refused because of its key.

    `status` is that of the answer, `kind` a name for programs, the message a sentence for people. `retry_after` are
    seconds, or None if waiting does not help.
    """

    def __init__(self, status: int, kind: str, sentence: str, *, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.status, self.kind, self.sentence, self.retry_after = status, kind, sentence, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer: when to try again, and how to identify oneself."""
        found = {} if self.retry_after is None else {"Retry-After": str(max(1, math.ceil(self.retry_after)))}
        return found | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def carried_secret(connection: HTTPConnection) -> str | None:
    """The key of a request, from `Authorization: Bearer` or `x-api-key`; None without one.

    Raises:
        KeyRefused: the request has several different ones.
    """
    found = {value.strip() for value in connection.headers.getlist("x-api-key")}
    for value in connection.headers.getlist("authorization"):
        if (token := bearer_token(value)) is not None:
            found.add(token)
    return only_secret(found)


def only_secret(found: Collection[str]) -> str | None:
    """The key of a request that has these; None without one.

    Raises:
        KeyRefused: there are several.
    """
    if len(found) > 1:
        raise KeyRefused(401, "several-keys", "The request has several different keys. Send one.")
    return next(iter(found), None) or None


def demand_scope(key: ApiKey, *scopes: KeyScope) -> list[KeyScope]:
    """Those of these scopes that the key has.

    Raises:
        KeyRefused: it has none of them.
    """
    found = [scope for scope in scopes if scope in key.scopes]
    if not found:
        sentence = f"The key {key.prefix}… does not have the scope {' or '.join(scopes)}."
        raise KeyRefused(403, "scope-missing", sentence)
    return found


def rate_of(connection: HTTPConnection) -> Rate | None:
    """What is left of the requests a minute of the key of this request; None if they are not limited."""
    rate: Rate | None = connection.scope.get(_RATE_KEY)
    return rate


def rate_headers(rate: Rate) -> dict[str, str]:
    """The headers of the IETF's draft on rate limits."""
    return {
        "RateLimit-Policy": f'"requests";q={rate.limit};w=60',
        "RateLimit": f'"requests";r={rate.remaining};t={round(rate.reset_after)}',
    }


@dataclass(slots=True)
class _Found:
    at: float
    key: ApiKey | None
    # Whether the key was right at any time: then it is looked up again without waiting for wrong ones.
    was_right: bool
    noted_at: float = -math.inf


class KeyGate:
    """Finds the keys of requests for one process."""

    def __init__(
        self,
        layer: ChainlitLayer,
        *,
        remember_seconds: float = 3.0,
        throttle: LoginThrottle | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            layer: where the keys are.
            remember_seconds: how long a key is remembered; a revoked one is out after at most this long.
            throttle: slows wrong keys of one address down.
            clock: gives the time in seconds.
        """
        self._layer, self._remember_seconds, self._clock = layer, remember_seconds, clock
        self._throttle = LoginThrottle(most_waiting=_MOST_WAITING) if throttle is None else throttle
        # By the hash of the key.
        self._found: OrderedDict[str, _Found] = OrderedDict()
        self._finding: dict[str, asyncio.Task[_Found]] = {}
        # Requests whose key was not right before, by address.
        self._waiting: Counter[str] = Counter()
        # Lookups of such keys, by address: one goes on when its requests have gone away.
        self._lookups: Counter[str] = Counter()
        self._noting: set[asyncio.Task[None]] = set()

    async def key(self, connection: HTTPConnection, *scopes: KeyScope) -> ApiKey:
        """The key of the request, which has one of these scopes. It counts as a request of the key's rate (`rate_of`).

        Raises:
            KeyRefused: there is no valid key, or it lacks the scopes, or its rate is used up.
            StorageUnavailable: the key cannot be looked up now.
        """
        return await self.key_of(carried_secret(connection), connection, *scopes)

    async def key_of(self, secret: str | None, connection: HTTPConnection, *scopes: KeyScope) -> ApiKey:
        """As `key`, for a request with this secret."""
        if secret is None:
            sentence = "Send an API key as `Authorization: Bearer tk_…` or as `x-api-key: tk_…`."
            raise KeyRefused(401, "key-missing", sentence)
        key = await self._known(secret, connection.client.host if connection.client else "")
        if key.requests_per_minute is not None:
            with acting_as(SYSTEM):
                rate = await self._layer.take_rate(key.id, "requests", 1, key.requests_per_minute)
            connection.scope[_RATE_KEY] = rate
            if not rate.allowed:
                sentence = f"The key {key.prefix}… allows {rate.limit} requests a minute."
                raise KeyRefused(429, "rate-exceeded", sentence, retry_after=rate.retry_after)
        # After the rate, so that requests without the scope count too.
        found = demand_scope(key, *scopes)
        if not any(key.role in ROLES_OF_SCOPES.get(scope, (key.role,)) for scope in found):
            raise KeyRefused(403, "scope-missing", f"{key.owner} has no role for the scope {found[0]} any more.")
        return key

    async def _known(self, secret: str, address: str) -> ApiKey:
        digest = hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
        found = self._found.get(digest)
        if found is None or found.key is None or self._clock() - found.at >= self._remember_seconds:
            found = await self._once(digest, secret, address)
        key = found.key
        if key is None or (key.expires_at is not None and key.is_expired_at(utc_now())):
            raise KeyRefused(401, "key-invalid", "The API key is unknown, revoked or expired, or its user is disabled.")
        self._note(key, found)
        return key

    async def _once(self, digest: str, secret: str, address: str) -> _Found:
        """Find the key for all requests that have it and wait."""
        known = self._found.get(digest)
        task = self._finding.get(digest)
        # A caller that goes away does not end the search of the others.
        if known is not None and known.was_right:
            return await asyncio.shield(task or self._start_finding(digest, secret, address))
        # Before anything is started for the request: a flood of wrong keys comes here.
        is_crowded = self._waiting[address] >= _MOST_WAITING and self._throttle.is_slowed(address)
        # Lookups that were just started do not fill the throttle yet.
        is_flooded = task is None and self._lookups[address] >= _MOST_WAITING
        if is_crowded or is_flooded or self._throttle.is_full(address):
            raise _too_many()
        if task is None:
            task = self._start_finding(digest, secret, address)
            self._lookups[address] += 1
            task.add_done_callback(lambda _: _take_one(self._lookups, address))
        self._waiting[address] += 1
        try:
            return await asyncio.shield(task)
        finally:
            _take_one(self._waiting, address)

    def _start_finding(self, digest: str, secret: str, address: str) -> asyncio.Task[_Found]:
        task = self._finding[digest] = asyncio.create_task(self._find(digest, secret, address), name="find-key")
        task.add_done_callback(lambda done: self._end_finding(digest, done))
        return task

    def _end_finding(self, digest: str, task: asyncio.Task[_Found]) -> None:
        del self._finding[digest]
        if not task.cancelled():
            # Read, so that asyncio does not log it when every caller has gone away.
            task.exception()

    async def _find(self, digest: str, secret: str, address: str) -> _Found:
        known = self._found.get(digest)
        if known is not None and known.was_right:
            return await self._look(digest, secret)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._throttle.attempt(address) as attempt:
                if known is not None and self._clock() - known.at < self._remember_seconds:
                    found = known
                else:
                    found = await self._look(digest, secret)
                if found.key is None:
                    attempt.failed()
                return found
        except (TooManyTries, TimeoutError):
            raise _too_many() from None

    async def _look(self, digest: str, secret: str) -> _Found:
        with acting_as(SYSTEM):
            key = await self._layer.find_api_key(secret)
        before = self._found.pop(digest, None)
        was_right = key is not None or (before is not None and before.was_right)
        found = self._found[digest] = _Found(self._clock(), key, was_right)
        if before is not None:
            found.noted_at = before.noted_at
        if len(self._found) > _MOST_REMEMBERED:
            self._found.popitem(last=False)
        return found

    def _note(self, key: ApiKey, found: _Found) -> None:
        """Store in the background that the key is used, once a minute."""
        now = self._clock()
        if now - found.noted_at < _SEEN_EVERY_SECONDS:
            return
        found.noted_at = now
        task = asyncio.create_task(self._see(key), name="note-key")
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _see(self, key: ApiKey) -> None:
        try:
            with acting_as(SYSTEM):
                await self._layer.see_api_key(key.id)
        except DataLayerError as error:
            logger.error("the use of the key %s was not stored: %s", key.prefix, error)


def _take_one(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


def _too_many() -> KeyRefused:
    sentence = "Too many wrong API keys came from this address. Please try again later."
    return KeyRefused(429, "too-many-wrong-keys", sentence, retry_after=LONGEST_PAUSE_SECONDS)


def Key(scope: KeyScope) -> Any:  # noqa: N802  it is used as `Depends` is
    """A dependency: the key of the request, which has this scope. Its user acts in the rest of the request.

    The state of the request has the gate as `key_gate`. For example:

        async def read_threads(key: Annotated[ApiKey, Key("threads:read")]) -> Page: ...
    """

    async def require(connection: HTTPConnection) -> ApiKey:
        gate: KeyGate = connection.state.key_gate
        key = await gate.key(connection, scope)
        acting_user.set(key.owner)
        return key

    return Depends(require)
