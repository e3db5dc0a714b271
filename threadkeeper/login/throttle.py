"""Slows the guessing of one person's password, and nobody else's login.

After a few free tries each failure for an identifier doubles the pause before the next try for it, up to a limit;
tries for one identifier go one after another. Nobody is locked out for good: the pause is short enough for a person
to wait, and long enough for a machine to get nowhere. Names that do not exist are treated like those that do.
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
    """More tries wait already than may."""


@dataclass(slots=True)
class _Tries:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    present: int = 0
    failures: int = 0
    last_failure: float = 0.0
    not_before: float = 0.0


class LoginThrottle:
    """Failed tries per identifier, in the memory of this process."""

    def __init__(
        self,
        *,
        most_identifiers: int = 10_000,
        most_waiting: int = 5,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Bounds: so many identifiers are remembered, and so many tries for one of them may be under way or waiting."""
        self._most_identifiers = most_identifiers
        self._most_waiting = most_waiting
        self._clock = clock
        self._sleep = sleep
        self._tries: OrderedDict[str, _Tries] = OrderedDict()

    def __len__(self) -> int:
        """How many identifiers are remembered."""
        return len(self._tries)

    @asynccontextmanager
    async def turn(self, identifier: str) -> AsyncIterator["Turn"]:
        """Wait until it is this try's turn; its outcome is told to the `Turn`, and one without outcome does not count.

        Raises:
            TooManyTries: too many wait already, for this identifier or altogether.
        """
        tries = self._remember(identifier)
        if tries.present >= self._most_waiting:
            raise TooManyTries
        tries.present += 1
        try:
            async with tries.turn:
                if (pause := tries.not_before - self._clock()) > 0:
                    await self._sleep(pause)
                yield Turn(tries, self._clock)
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


class Turn:
    """One try, while no other for the same identifier is under way."""

    def __init__(self, tries: _Tries, clock: Callable[[], float]) -> None:
        self._tries = tries
        self._clock = clock

    def succeeded(self) -> None:
        self._tries.failures, self._tries.not_before = 0, 0.0

    def failed(self) -> int:
        """Give how many failures there were now in a row."""
        tries = self._tries
        tries.failures += 1
        tries.last_failure = self._clock()
        if tries.failures >= FREE_FAILURES:
            doubled = FIRST_PAUSE_SECONDS * 2 ** min(tries.failures - FREE_FAILURES, 10)
            tries.not_before = tries.last_failure + min(doubled, LONGEST_PAUSE_SECONDS)
        return tries.failures
