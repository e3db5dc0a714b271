"""Ways to run async functions: over an iterator with bounded concurrency, and without a task."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def for_each(items: AsyncIterator[T], work: Callable[[T], Awaitable[None]], *, concurrency: int) -> None:
    """Call `work` for each item, for at most `concurrency` of them at the same time.

    The next item is requested only when a worker is free. The first error cancels the other workers and is raised.
    """
    asking = asyncio.Lock()
    end = object()

    async def worker() -> None:
        while True:
            async with asking:
                item = await anext(items, end)
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


def run_here(coroutine: Coroutine[Any, Any, T], then: Callable[[T | None, BaseException | None], None]) -> None:
    """Run the coroutine within this call until it waits, and on without a task: the end of each wait continues it.

    Beside a task this saves two turns of the event loop, and cancelling the caller does not reach the coroutine. It
    may await futures only, and nothing that asks for the current task, such as `asyncio.timeout`.

    Args:
        then: called with the result, or with the error that the coroutine raised.
    """

    def go_on(_ended: asyncio.Future[Any] | None = None) -> None:
        try:
            awaited: asyncio.Future[Any] = coroutine.send(None)
        except StopIteration as end:
            then(end.value, None)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  `then` decides
            then(None, error)
        else:
            awaited.add_done_callback(go_on)

    go_on()
