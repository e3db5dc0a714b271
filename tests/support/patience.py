"""How long a test waits for what must come: far longer than it takes, because a busy machine is slow."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

PATIENCE_SECONDS = 60.0
# Each look takes CPU time that what is waited for may need, so the pause grows with the wait: by a twentieth of it.
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.02, 0.25
_PAUSE_OF_WAIT = 1 / 20

T = TypeVar("T")


@overload
async def until(condition: Callable[[], Awaitable[T | None]], seconds: float = ..., *, what: str = ...) -> T: ...


@overload
async def until(condition: Callable[[], T | None], seconds: float = ..., *, what: str = ...) -> T: ...


async def until(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS, *, what: str = "it") -> Any:
    """The first true value that the condition returns, or that what it returns is awaited to.

    Args:
        what: is waited for, for the message of the error.

    Raises:
        AssertionError: there was none in this time.
    """
    value: Any = None
    begun = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            while True:
                value = condition()
                if inspect.isawaitable(value):
                    value = await value
                if value:
                    return value
                grown = (time.monotonic() - begun) * _PAUSE_OF_WAIT
                await asyncio.sleep(min(max(_SHORTEST_PAUSE_SECONDS, grown), _LONGEST_PAUSE_SECONDS))
    except TimeoutError:
        raise AssertionError(f"{what} did not come within {seconds:g} s; the last value was {value!r}") from None
