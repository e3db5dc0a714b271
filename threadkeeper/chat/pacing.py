"""Limits how often a streamed answer is shown and stored: immediately, then once per interval while text arrives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine

logger = logging.getLogger(__name__)

_GRACE_SECONDS = 2.0
# News that come this part of an interval early are not made to wait: news are often paced themselves.
_EARLY = 0.05


class Paced:
    """Runs `act` at once on the first news, then once an interval while there is more news; never two runs at a time.

    Args:
        act: shows or stores the new text. Its errors are logged and do not end the answer.
        seconds: the interval.
        what: names the work in the log.
    """

    def __init__(self, act: Callable[[], Awaitable[None]], seconds: float, what: str) -> None:
        self._act = act
        self._seconds = seconds
        self._what = what
        self._task: asyncio.Task[None] | None = None
        self._fresh = False
        self._next = 0.0
        self._pausing = False
        self._stopped = False

    def news(self) -> None:
        self._fresh = True
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def run_once(self) -> None:
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                await self._act()
        except Exception:
            logger.exception("%s failed", self._what)

    async def stop(self) -> None:
        """Wait up to two seconds for a run to end. After that no run is active, and none starts."""
        self._stopped = True
        task = self._task
        if task is None:
            return
        if self._pausing:
            task.cancel()
        _, running = await asyncio.wait({task}, timeout=_GRACE_SECONDS)
        if running:
            logger.warning("%s took longer than %s seconds and was cancelled", self._what, _GRACE_SECONDS)
            task.cancel()
            await asyncio.wait({task}, timeout=_GRACE_SECONDS)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._fresh and not self._stopped:
                if (wait := self._next - loop.time()) > self._seconds * _EARLY:
                    self._pausing = True
                    await asyncio.sleep(wait)
                    self._pausing = False
                    continue
                self._fresh = False
                try:
                    await self._act()
                except Exception:
                    logger.exception("%s failed", self._what)
                self._next = loop.time() + self._seconds
        finally:
            self._task = None


async def undisturbed(work: Coroutine[None, None, None]) -> None:
    """Finish `work` even if the current task is cancelled; the cancellation is raised afterwards."""
    task = asyncio.create_task(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancellation = error
    task.result()
    if cancellation is not None:
        raise cancellation
