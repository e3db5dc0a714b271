"""Some work for each of any number of things, a few at once: what comes next is asked for when there is a hand free."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def side_by_side(things: AsyncIterator[T], work: Callable[[T], Awaitable[None]], *, at_once: int) -> None:
    """Do the work for each. The first that fails ends the others, and its error is raised."""
    one_asks = asyncio.Lock()
    end = object()

    async def hand() -> None:
        while True:
            async with one_asks:
                thing = await anext(things, end)
            if thing is end:
                return
            await work(thing)  # type: ignore[arg-type]

    hands = [asyncio.create_task(hand()) for _ in range(at_once)]
    try:
        await asyncio.gather(*hands)
    finally:
        for one in hands:
            one.cancel()
        await asyncio.gather(*hands, return_exceptions=True)
