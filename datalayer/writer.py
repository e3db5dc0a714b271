"""The write queue: the order of calls is the order of application, and a failure reaches its own caller.

Chainlit calls its data layer from tasks that nobody awaits, so the layer itself owns order and durability.
`submit` puts a write in the queue before its first await; one worker takes all that waits and commits it, steps in
one statement and everything else in one transaction, and while that is in flight the next ones gather. There is no
timer: a lone write leaves at once. A write that the database refuses is taken out of its batch, and the others go
through without it. While the database is away the worker tries again, with growing pauses, until it is back or
`close` runs out of patience.
"""

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeAlias, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer import step_writes
from datalayer.database import Database
from datalayer.errors import StorageUnavailable
from datalayer.records import StepWrite

logger = logging.getLogger(__name__)

MOST_IN_ONE_TRANSACTION = 200
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0

Operation = Callable[[AsyncConnection], Awaitable[Any]]


@dataclass(eq=False, slots=True)
class _Write:
    thread_id: str | None
    operation: Operation | StepWrite
    done: asyncio.Future[Any] = field(repr=False)


Attempt: TypeAlias = Callable[[list[_Write]], Awaitable[list[Any]]]


class Writer:
    """Applies operations to one database, one after another, from one event loop."""

    def __init__(
        self,
        database: Database,
        *,
        patience_seconds: float = 60.0,
        is_dropped: Callable[[str], bool] = lambda _thread_id: False,
    ) -> None:
        """Nothing runs until the first write.

        Args:
            patience_seconds: how long a write is tried again while the database is away.
            is_dropped: says, when a step's turn has come, whether its thread was deleted meanwhile.
        """
        self._database = database
        self._is_dropped = is_dropped
        self._patience = patience_seconds
        self._waiting: deque[_Write] = deque()
        self._in_flight: list[_Write] = []
        self._worker: asyncio.Task[None] | None = None
        self._closing = False

    def __len__(self) -> int:
        """How many writes are not stored yet."""
        return len(self._waiting) + len(self._in_flight)

    def submit(self, operation: Operation | StepWrite, thread_id: str | None = None) -> asyncio.Future[Any]:
        """Queue the operation now; the future gives its result once it is committed.

        Raises:
            StorageUnavailable: (in the future) the database stayed away, or the writer is closed.
            DataLayerError: (in the future) whatever the operation raised.
        """
        done = asyncio.get_running_loop().create_future()
        # Chainlit drops the task that awaits this; the failure is logged by the layer all the same.
        done.add_done_callback(_retrieve)
        if self._closing:
            done.set_exception(StorageUnavailable("the data layer is closed"))
            return done
        self._waiting.append(_Write(thread_id, operation, done))
        if self._worker is None or self._worker.done():
            # In a context of its own: the worker acts for many users and must not inherit one of them.
            self._worker = asyncio.get_running_loop().create_task(
                self._work(), name="datalayer-writer", context=contextvars.Context()
            )
        return done

    async def settled(self, thread_id: str | None = None, *, timeout_seconds: float = 5.0) -> None:
        """Wait until what is queued now (of this thread, or all) is stored or has failed, or the time is up."""
        pending = [write.done for write in (*self._in_flight, *self._waiting) if thread_id in (None, write.thread_id)]
        if pending:
            await asyncio.wait(pending, timeout=timeout_seconds)

    async def close(self, deadline_seconds: float = 10.0) -> int:
        """Store what waits, take nothing more, and give the number of writes that could not be stored in time."""
        self._closing = True
        worker = self._worker
        if worker is not None and not worker.done():
            await asyncio.wait([worker], timeout=deadline_seconds)
            if not worker.done():
                worker.cancel()
                await asyncio.wait([worker], timeout=1)
        lost = [*self._in_flight, *self._waiting]
        self._in_flight, self._waiting = [], deque()
        for write in lost:
            if not write.done.done():
                write.done.set_exception(StorageUnavailable("the database did not come back before the end"))
        return len(lost)

    async def _work(self) -> None:
        while self._waiting:
            size = min(len(self._waiting), MOST_IN_ONE_TRANSACTION)
            self._in_flight = [self._waiting.popleft() for _ in range(size)]
            for kind, run in groupby(self._in_flight, key=lambda write: isinstance(write.operation, StepWrite)):
                await self._store(list(run), self._write_steps if kind else self._transact)
            self._in_flight = []

    async def _store(self, run: list[_Write], attempt: Attempt) -> None:
        try:
            results = await self._insist(run, attempt)
        except StorageUnavailable as error:
            for write in run:
                _settle(write, error)
        except Exception as error:  # noqa: BLE001  a mistake in one operation must not end the worker
            if len(run) == 1:
                _settle(run[0], error)
                return
            # One of them spoils the batch: each alone, in order, so that only that one fails.
            for write in run:
                await self._store([write], attempt)
        else:
            for write, result in zip(run, results, strict=True):
                _settle(write, result)

    async def _insist(self, run: list[_Write], attempt: Attempt) -> list[Any]:
        """Try again while the database is away."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._patience
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await attempt(run)
            except StorageUnavailable as error:
                if loop.time() + pause > give_up:
                    raise
                logger.warning("writes wait for the database: %s", error, extra={"waiting": len(self)})
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _transact(self, run: list[_Write]) -> list[Any]:
        async with self._database.write() as connection:
            return [await cast(Operation, write.operation)(connection) for write in run]

    async def _write_steps(self, run: list[_Write]) -> list[Any]:
        writes = {
            at: cast(StepWrite, write.operation)
            for at, write in enumerate(run)
            if write.thread_id is None or not self._is_dropped(write.thread_id)
        }
        refusals = dict(zip(writes, await step_writes.write(self._database, list(writes.values())), strict=True))
        return [refusals.get(at) for at in range(len(run))]


def _settle(write: _Write, result: Any) -> None:
    if write.done.done():
        return
    if isinstance(result, Exception):
        write.done.set_exception(result)
    else:
        write.done.set_result(result)


def _retrieve(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()
