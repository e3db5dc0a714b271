"""Slows down guessing of one user's password without slowing down the logins of other users.

After a few free failures, each failure for an identifier doubles the pause before its next attempt, up to a limit.
Attempts for one identifier run one after another. No account is ever locked: a person can wait for the pause, but a
program cannot try many passwords. Names that do not exist are treated like those that do.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

FREE_FAILURES = 3
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0
FORGOTTEN_AFTER_SECONDS = 3600.0


class TooManyTries(Exception):
    """Too many attempts are waiting already."""


@dataclass(slots=True)
class _Tries:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    present: int = 0
    failures: int = 0
    last_failure: float = 0.0
    not_before: float = 0.0


class LoginThrottle:
    """Counts failed attempts per identifier, in the memory of this process."""

    def __init__(
        self,
        *,
        most_identifiers: int = 10_000,
        most_waiting: int = 5,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """
        Args:
            most_identifiers: maximum number of remembered identifiers.
            most_waiting: maximum number of attempts for one identifier that run or wait.
            clock: seconds, monotonic.
            sleep: waits for this many seconds.
        """
        self._most_identifiers = most_identifiers
        self._most_waiting = most_waiting
        self._clock = clock
        self._sleep = sleep
        self._tries: OrderedDict[str, _Tries] = OrderedDict()

    def __len__(self) -> int:
        """The number of identifiers that are remembered."""
        return len(self._tries)

    def is_slowed(self, identifier: str) -> bool:
        """Whether so many attempts for this identifier have failed that there are pauses."""
        tries = self._tries.get(identifier)
        return tries is not None and tries.failures >= FREE_FAILURES

    def is_full(self, identifier: str) -> bool:
        """Whether another attempt for this identifier would be refused now."""
        tries = self._tries.get(identifier)
        return tries is not None and tries.present >= self._most_waiting

    @asynccontextmanager
    async def attempt(self, identifier: str) -> AsyncIterator["LoginAttempt"]:
        """Wait for earlier attempts and for the pause. The caller reports the outcome to the attempt that it gets; an
        attempt without an outcome does not count.

        Raises:
            TooManyTries: too many attempts are waiting, for this identifier or in total.
        """
        tries = self._remember(identifier)
        if tries.present >= self._most_waiting:
            raise TooManyTries
        tries.present += 1
        try:
            async with tries.turn:
                if (pause := tries.not_before - self._clock()) > 0:
                    await self._sleep(pause)
                yield LoginAttempt(tries, self._clock)
        finally:
            tries.present -= 1
            if not tries.present and not tries.failures:
                del self._tries[identifier]

    def _remember(self, identifier: str) -> _Tries:
        if tries := self._tries.get(identifier):
            self._tries.move_to_end(identifier)
            if self._is_old(tries):
                tries.failures, tries.not_before = 0, 0.0
            return tries
        for other, tries in list(self._tries.items()):
            if not tries.present and (self._is_old(tries) or len(self._tries) >= self._most_identifiers):
                del self._tries[other]
            else:
                break
        if len(self._tries) >= self._most_identifiers:
            raise TooManyTries
        return self._tries.setdefault(identifier, _Tries())

    def _is_old(self, tries: _Tries) -> bool:
        return not tries.present and self._clock() - tries.last_failure > FORGOTTEN_AFTER_SECONDS


class LoginAttempt:
    """One attempt to log in, while no other for the same identifier runs."""

    def __init__(self, tries: _Tries, clock: Callable[[], float]) -> None:
        self._tries = tries
        self._clock = clock

    def succeeded(self) -> None:
        self._tries.failures, self._tries.not_before = 0, 0.0

    def failed(self) -> int:
        """Count a failure; returns the number of failures in a row."""
        tries = self._tries
        tries.failures += 1
        tries.last_failure = self._clock()
        if tries.failures >= FREE_FAILURES:
            doubled = FIRST_PAUSE_SECONDS * 2 ** min(tries.failures - FREE_FAILURES, 10)
            tries.not_before = tries.last_failure + min(doubled, LONGEST_PAUSE_SECONDS)
        return tries.failures
