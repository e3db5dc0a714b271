"""A task beside the writes: started on demand or by a timer, one at a time, with longer pauses after failures.

The task runs in an empty context, because it works for all users and must not inherit the acting user of the request
that started it. Nothing runs and no timer waits while there is nothing to do.
"""

import asyncio
import contextvars
from abc import ABC, abstractmethod

from datalayer.errors import DataLayerError

STOP_SECONDS = 1.0
"""How long `stop` waits for the run in progress, and once more after cancelling it."""
_MOST_DOUBLINGS = 10


class BackgroundTask(ABC):
    """Runs `_work` in one event loop, never twice at the same time."""

    def __init__(self, name: str) -> None:
        """Nothing runs until something begins it. `name` is the name of the asyncio task."""
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failures = 0
        self._closing = False

    async def stop(self) -> None:
        """Begin nothing more. The run in progress gets one second to finish; then it is cancelled."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=STOP_SECONDS)
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task], timeout=STOP_SECONDS)

    @property
    def _is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    def _begin(self) -> asyncio.Task[None] | None:
        """The run in progress, or a new one; None after `stop`."""
        if self._closing:
            return None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name=self._name, context=contextvars.Context()
            )
        return self._task

    def _begin_in(self, seconds: float) -> None:
        """Begin after this time at the latest; an earlier timer stays."""
        if self._closing:
            return
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._begin)

    async def _run(self) -> None:
        try:
            is_done = await self._work()
        except Exception as error:  # noqa: BLE001  the work is still recorded, and the next run must come
            self._failures += 1
            self._report(str(error) if isinstance(error, DataLayerError) else type(error).__name__)
        else:
            self._failures = 0 if is_done else self._failures + 1
        pause = self._next_pause()
        if pause is not None:
            self._begin_in(pause)

    def _back_off(self, first_seconds: float, longest_seconds: float) -> float:
        """The pause after the failures so far: twice the first one, and doubled with each further failure."""
        doublings = min(self._failures, _MOST_DOUBLINGS)
        return min(first_seconds * float(2**doublings), longest_seconds)

    @abstractmethod
    async def _work(self) -> bool:
        """One run; False if a part of it failed and must be tried again."""

    @abstractmethod
    def _report(self, reason: str) -> None:
        """Log that a run failed. It is retried after `_next_pause`."""

    @abstractmethod
    def _next_pause(self) -> float | None:
        """Asked after each run: seconds until the next one, or None if only a new event begins it."""
