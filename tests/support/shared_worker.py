"""One embedding worker for all trainings of a test run's process, because each worker loads its vocabulary again.

A process belongs to an event loop, and each test has its own. So the worker runs on the loop of a thread.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.loop_thread import LoopThread
from threadkeeper.knowledge.worker_process import EmbeddingWorker


class SharedWorker(EmbeddingWorker):
    """For any event loop. The first request starts it, and `end` ends it."""

    def __init__(self) -> None:
        super().__init__()
        self._thread: LoopThread | None = None

    async def ask(self, request: dict[str, Any], *, is_urgent: bool = False) -> tuple[Any, bytes]:
        if self._thread is None:
            self._thread = LoopThread("shared-worker").__enter__()
        return await asyncio.wrap_future(self._thread.submit(super().ask(request, is_urgent=is_urgent)))

    async def close(self) -> None:
        """Leaves the process to the next test."""

    def end(self) -> None:
        if self._thread is not None:
            self._thread.run(super().close())
            self._thread.__exit__(None, None, None)
            self._thread = None


shared_worker = SharedWorker()
