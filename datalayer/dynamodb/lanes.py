"""The write queue: a lane for each thread, in which writes are applied in the order of the calls.

Chainlit calls its data layer from tasks that nobody awaits, so the layer owns order and durability. `submit` queues a
write before its first await. Each lane has one batch in flight; what comes meanwhile, and what comes in the same turn
of the event loop, is the next batch. Lanes do not wait for each other, except that 40 batches at most are under way at
a time, with the uploads of their long texts. While DynamoDB is away, a lane tries again with growing random pauses, in
order, until it is back or the patience of its writes ends.
"""

import asyncio
import contextvars
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Any, cast

from datalayer.errors import StorageUnavailable
from datalayer.records.usage import LlmCallWrite
from datalayer.records.writes import FileAbandonment, Recorded, UserWrite, ids_of
from datalayer.writes.admission import QueuedWrite, fail, rough_size, threads_before

logger = logging.getLogger(__name__)

MOST_QUEUED = 20_000
MOST_QUEUED_BYTES = 64 * 1024**2
# A transaction takes 4 MB; a character may have three bytes.
MOST_BYTES_TOGETHER = 1024**2
WAIT_SECONDS = 5.0
"""How long a read waits for earlier writes."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
_AT_ONCE = 40

Apply = Callable[[str | None, Sequence[Recorded]], Awaitable[list[Any]]]
"""Stores writes of one lane together; gives their results."""
Joins = Callable[[Recorded, Recorded, int], bool]
"""Whether a write may be stored together with the first of a batch, which has so many writes."""


class Lanes:
    """Applies writes, from one event loop."""

    def __init__(self, apply: Apply, joins: Joins, *, patience_seconds: float) -> None:
        self._apply, self._joins, self._patience = apply, joins, patience_seconds
        self._lanes: dict[str, deque[QueuedWrite]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._count = self._bytes = 0
        self._closing = False

    def __len__(self) -> int:
        """The number of writes that are not stored yet."""
        return self._count

    def submit(self, write: Recorded, thread_id: str | None = None) -> asyncio.Future[Any]:
        """Queue the write now; the future gives its result when it is stored."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        if self._closing:
            fail(done, StorageUnavailable("the data layer is closed"))
            return done
        queued = QueuedWrite(thread_id, write, done, rough_size(write), loop.time())
        if self._count and (self._count >= MOST_QUEUED or self._bytes + queued.size > MOST_QUEUED_BYTES):
            queued.settle(StorageUnavailable("too many writes wait for the database"))
            return done
        self._count, self._bytes = self._count + 1, self._bytes + queued.size
        lane = thread_id or _lane_of(write)
        self._lanes.setdefault(lane, deque()).append(queued)
        if lane not in self._workers:
            # In an empty context: the worker acts for many users and must not inherit one of them.
            self._workers[lane] = loop.create_task(
                self._work(lane, thread_id), name="datalayer-lane", context=contextvars.Context()
            )
        return done

    async def settled(self, thread_id: str | None = None, *, user: str | None = None) -> None:
        """Wait until what is queued now (for this thread, or by this user) is stored or has failed.

        This takes five seconds at most. A write by nobody in particular may be about any user, and is waited for only
        until five seconds after its call: a thread that cannot be stored must not hold up the lists of all others.
        """
        if thread_id is not None:
            writes = list(self._lanes.get(thread_id, ()))
        else:
            since = asyncio.get_running_loop().time() - WAIT_SECONDS
            writes = [one for one in chain.from_iterable(self._lanes.values()) if _may_be_of(one, user, since)]
        pending = [write.end() for write in writes]
        if pending and (await asyncio.wait(pending, timeout=WAIT_SECONDS))[1]:
            ids = {"thread_id": thread_id, "user": user}
            logger.warning("a read did not wait longer than %s seconds for earlier writes", WAIT_SECONDS, extra=ids)

    def waiting_threads(self, seconds: float) -> set[str]:
        """The threads of the writes that were queued more than so many seconds ago and are not stored yet."""
        return threads_before(chain.from_iterable(self._lanes.values()), seconds)

    async def close(
        self, deadline_seconds: float, rescue: Callable[[list[Recorded]], bool] = lambda _writes: False
    ) -> tuple[int, int]:
        """Store the waiting writes and accept no more; gives how many were rescued, and how many are lost."""
        self._closing = True
        if self._workers:
            await asyncio.wait(self._workers.values(), timeout=deadline_seconds)
        late = list(self._workers.values())
        for worker in late:
            worker.cancel()
        if late:
            await asyncio.wait(late, timeout=1)
        left = [write for lane in self._lanes.values() for write in lane if not write.settled]
        data: list[Recorded] = list(map(_record, left))
        rescued = len(data) if data and rescue(data) else 0
        fate = "; it is kept in the spool file" if rescued else ""
        for write in left:
            write.settle(StorageUnavailable(f"the database stayed unavailable until the data layer was closed{fate}"))
        return rescued, len(left) - rescued

    async def _work(self, name: str, thread_id: str | None) -> None:
        lane = self._lanes[name]
        try:
            while lane:
                batch = self._next(lane)
                await self._store(thread_id, batch)
                for write in batch:
                    lane.popleft()
                    self._count, self._bytes = self._count - 1, self._bytes - write.size
            del self._lanes[name]
        finally:
            del self._workers[name]

    def _next(self, lane: deque[QueuedWrite]) -> list[QueuedWrite]:
        """The first writes of the lane that can be stored together; they stay in the lane until they are."""
        batch = [lane[0]]
        size = lane[0].size
        for write in list(lane)[1:]:
            size += write.size
            if size > MOST_BYTES_TOGETHER or not self._joins(_record(batch[0]), _record(write), len(batch)):
                break
            batch.append(write)
        return batch

    async def _store(self, thread_id: str | None, batch: list[QueuedWrite]) -> None:
        try:
            results = await self._insist(thread_id, batch)
        except Exception as error:  # noqa: BLE001  a mistake in one write must not end the lane
            if len(batch) == 1 or isinstance(error, StorageUnavailable):
                for write in batch:
                    write.settle(error)
                return
            # One of them spoils the batch: store each alone, in order, so that only that one fails.
            for write in batch:
                await self._store(thread_id, [write])
        else:
            for write, result in zip(batch, results, strict=True):
                write.settle(result)

    async def _insist(self, thread_id: str | None, batch: list[QueuedWrite]) -> list[Any]:
        """Try again while DynamoDB is away."""
        loop = asyncio.get_running_loop()
        give_up = max(write.since for write in batch) + self._patience
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._at_once:
                    return await self._apply(thread_id, [_record(write) for write in batch])
            except StorageUnavailable as error:
                if loop.time() + pause > give_up:
                    raise
                logger.warning("%d writes wait for the database: %s", len(self), error, extra={"waiting": len(self)})
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _may_be_of(write: QueuedWrite, user: str | None, since: float) -> bool:
    """Whether a write is by this user, or is by the system, may be about this user, and was queued after this time."""
    record = _record(write)
    if isinstance(record, UserWrite | FileAbandonment | LlmCallWrite):
        return False
    return write.since > since if record.system else record.actor == user


def _lane_of(write: Recorded) -> str:
    """The lane of a write without a thread: that of the thread of its file, or one of its own."""
    if isinstance(write, FileAbandonment):
        return write.object_key.partition("/")[0]
    return f"{type(write).__name__} {ids_of(write)[1]}"


def _record(write: QueuedWrite) -> Recorded:
    return cast(Recorded, write.operation)
