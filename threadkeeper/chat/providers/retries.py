"""When a request that failed is sent again, and how long it waits before.

The openai package would obey a server that asks for a wait of two minutes, and nobody could see the wait or end it. So
the package repeats nothing, and this module decides.
"""

from __future__ import annotations

import random
import time

import httpx2

from threadkeeper.chat.model import ErrorKind, ModelError, ModelRequest

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 8.0
_TEMPORARY: frozenset[ErrorKind] = frozenset({"rate_limit", "server", "timeout"})


class Retries:
    """The retries of one request: at most `most`, none of which begins later than `seconds` after the first request.

    `request.wait_until` takes the place of that moment, if other requests for the same answer came before.
    """

    def __init__(self, request: ModelRequest, most: int, seconds: float) -> None:
        self._wait = request.purpose.on_wait
        self._left, self._most = most, most
        self._until = time.perf_counter() + seconds if request.wait_until is None else request.wait_until

    async def pause(self, error: ModelError, demanded: float | None) -> bool:
        """Wait before the next retry; False if there is none.

        Args:
            error: the failure; it gets the value `wait` if the server demands a longer wait than is left.
            demanded: seconds that the server asks to wait.
        """
        if not self._left:
            return False
        seconds = demanded or self._back_off()
        if time.perf_counter() + seconds > self._until:
            if demanded:
                error.values["wait"] = demanded
            return False
        self._left -= 1
        await self._wait(seconds)
        return True

    def _back_off(self) -> float:
        longest = min(_FIRST_PAUSE_SECONDS * 2.0 ** (self._most - self._left), _LONGEST_PAUSE_SECONDS)
        # A fraction of its own for each request, so that all do not come back in the same moment.
        return longest * (1 - 0.25 * random.random())  # noqa: S311  no secret


def is_temporary(response: httpx2.Response, error: ModelError) -> bool:
    """Whether the same request can succeed later: as the server says, else by the meaning of its refusal."""
    said = response.headers.get("x-should-retry")
    if said in ("true", "false"):
        return said == "true"
    return error.kind in _TEMPORARY
