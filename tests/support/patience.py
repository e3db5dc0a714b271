"""How long a test waits for what must come: far longer than it takes, because a busy machine is slow."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.02

T = TypeVar("T")


@overload
async def until(condition: Callable[[], Awaitable[T | None]], seconds: float = ...) -> T: ...


@overload
async def until(condition: Callable[[], T | None], seconds: float = ...) -> T: ...


async def until(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """The first true value that the condition returns, or that what it returns is awaited to.

    Raises:
        AssertionError: there was none in this time.
    """
    value: Any = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                value = condition()
                if inspect.isawaitable(value):
                    value = await value
                if value:
                    return value
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise AssertionError(f"it did not come within {seconds:g} s; the last value was {value!r}") from None
