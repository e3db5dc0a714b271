"""Runs an async function over an iterator with bounded concurrency."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def for_each(
    items: AsyncIterator[T] | Iterable[T], work: Callable[[T], Awaitable[None]], *, concurrency: int
) -> None:
    """Call `work` for each item, for at most `concurrency` of them at the same time.

    The next item is requested only when a worker is free. The first error cancels the other workers and is raised.
    """
    asking = asyncio.Lock()
    end = object()
    waiting = items if isinstance(items, AsyncIterator) else _in_turn(items)

    async def worker() -> None:
        while True:
            async with asking:
                item = await anext(waiting, end)
            if item is end:
                return
            await work(item)  # type: ignore[arg-type]

    workers = [asyncio.create_task(worker()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for one in workers:
            one.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _in_turn(items: Iterable[T]) -> AsyncIterator[T]:
    for item in items:
        yield item
