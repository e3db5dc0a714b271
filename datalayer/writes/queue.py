"""The write queue: the order of calls is the order of application, and a failure reaches its own caller.

Chainlit calls its data layer from tasks that nobody awaits, so the layer itself owns order and durability.
`submit` puts a write in the queue before its first await; one worker takes all that waits and commits it, steps in
one statement and everything else in one transaction, and while that is in flight the next ones gather. There is no
timer: a lone write leaves at once. A write that the database refuses is taken out of its batch, and the others go
through without it. While the database is away the worker tries again, with growing pauses, until it is back or
`close` runs out of patience. The queue is bounded in number and in rough bytes: past that, writes stand outside of
it, in order, for a bounded time. What `close` could not store in time is given back, to be kept in the spool.
"""

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeAlias, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.database import Database
from datalayer.errors import NotFound, StorageUnavailable, TimedOut
from datalayer.history import threads
from datalayer.history.deletion import Removal
from datalayer.records.chat import Step
from datalayer.records.usage import LlmCallWrite
from datalayer.records.writes import OtherWrite, Recorded, StepWrite, ThreadDeletion, ThreadWrite, VoteWrite, ids_of
from datalayer.writes import apply as record_writes
from datalayer.writes import calls, steps
from datalayer.writes.deleted import DeletedThreads

logger = logging.getLogger(__name__)

MOST_IN_ONE_TRANSACTION = 200
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
MOST_QUEUED = 20_000
MOST_QUEUED_BYTES = 64 * 1024**2
ADMISSION_SECONDS = 20.0
MOST_FAILED_ALONE = 3
_BYTES_OF_A_WRITE = 1_000
_OBJECTS = ("modes", "metadata", "generation", "extra", "tags")
_texts_of = attrgetter(*(item.name for item in fields(Step) if item.type in (str, str | None)))
_objects_of = attrgetter(*_OBJECTS)

Operation = Callable[[AsyncConnection], Awaitable[Any]]


@dataclass(eq=False, slots=True)
class _Write:
    thread_id: str | None
    operation: Operation | Recorded
    done: asyncio.Future[Any] = field(repr=False)
    size: int
    since: float
    """When it was called, by the loop's clock: the patience is with the write, not with its batch."""
    give_up: asyncio.TimerHandle | None = None
    settled: bool = False
    is_abandoned: bool = False
    """Whether its caller went away, and somebody else waits for it now."""


Attempt: TypeAlias = Callable[[list[_Write]], Awaitable[list[Any]]]


class Writer:
    """Applies operations to one database, one after another, from one event loop."""

    def __init__(
        self,
        database: Database,
        *,
        patience_seconds: float = 60.0,
        most_queued: int = MOST_QUEUED,
        most_queued_bytes: int = MOST_QUEUED_BYTES,
        admission_seconds: float = ADMISSION_SECONDS,
    ) -> None:
        """Nothing runs until the first write.

        Args:
            patience_seconds: how long a write is tried again while the database is away.
            most_queued: how many writes the queue takes; further ones stand outside.
            most_queued_bytes: how many bytes they may have, roughly; one write alone may have more. As many may stand
                outside; past that a write fails at once.
            admission_seconds: how long a write stands outside before it fails.
        """
        self._database = database
        self._deleted = DeletedThreads()
        self._patience = patience_seconds
        self._waiting: deque[_Write] = deque()
        self._outside: deque[_Write] = deque()
        self._in_flight: list[_Write] = []
        self._bytes = self._outside_bytes = 0
        self._most_queued, self._most_bytes = most_queued, most_queued_bytes
        self._admission_seconds = admission_seconds
        self._worker: asyncio.Task[None] | None = None
        self._closing = False
        self._away: StorageUnavailable | None = None
        self._failed_alone = 0

    def __len__(self) -> int:
        """How many writes are not stored yet."""
        return len(self._waiting) + len(self._in_flight) + len(self._outside)

    def submit(self, operation: Operation | Recorded, thread_id: str | None = None) -> asyncio.Future[Any]:
        """Queue the operation now; the future gives its result once it is committed.

        Raises:
            StorageUnavailable: (in the future) the database stayed away, the queue stayed full, or the writer is
                closed.
            DataLayerError: (in the future) whatever the operation raised.
        """
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        if self._closing:
            _fail(done, StorageUnavailable("the data layer is closed"))
            return done
        write = _Write(thread_id, operation, done, _rough_size(operation), loop.time())
        if self._outside and self._outside_bytes + write.size > self._most_bytes:
            # They hold memory out there too. Nobody awaits Chainlit's calls, so nobody would wait to make the next one.
            _settle(write, StorageUnavailable("too many writes wait for the database"))
            return done
        self._outside.append(write)
        self._outside_bytes += write.size
        self._admit()
        if self._outside:
            # All stand there equally long, so they also leave in order.
            write.give_up = loop.call_later(self._admission_seconds, self._turn_away, write)
        if self._worker is None or self._worker.done():
            # In a context of its own: the worker acts for many users and must not inherit one of them.
            self._worker = loop.create_task(self._work(), name="datalayer-writer", context=contextvars.Context())
        return done

    def _admit(self) -> None:
        """Let those in who stand outside, in order, as far as there is room."""
        while self._outside:
            queued = len(self._waiting) + len(self._in_flight)
            size = self._outside[0].size
            if queued and (queued >= self._most_queued or self._bytes + size > self._most_bytes):
                return
            write = self._outside.popleft()
            if write.give_up is not None:
                write.give_up.cancel()
            self._outside_bytes -= size
            self._bytes += size
            self._waiting.append(write)

    def _turn_away(self, write: _Write) -> None:
        self._outside.remove(write)
        self._outside_bytes -= write.size
        _settle(write, StorageUnavailable("too many writes wait for the database"))

    async def settled(self, thread_id: str | None = None, *, timeout_seconds: float = 5.0) -> None:
        """Wait until what is queued now (of this thread, or all) is stored or has failed, or the time is up."""
        # A write that names no thread may be about something in this one.
        pending = [
            _end_of(write)
            for write in self._unstored()
            if thread_id is None or write.thread_id is None or write.thread_id == thread_id
        ]
        if pending and (await asyncio.wait(pending, timeout=timeout_seconds))[1]:
            logger.warning("a read did not wait for the writes before it any longer", extra={"thread_id": thread_id})

    def _unstored(self) -> list[_Write]:
        """In the order in which they were written."""
        return [*self._in_flight, *self._waiting, *self._outside]

    async def close(
        self, deadline_seconds: float = 10.0, rescue: Callable[[list[Recorded]], bool] = lambda _writes: False
    ) -> tuple[int, int]:
        """Store what waits and take nothing more.

        Args:
            rescue: is given, in order, what could not be stored in time and is data; says whether it keeps it.

        Returns:
            How many writes were rescued, and how many are lost.
        """
        self._closing = True
        worker = self._worker
        if worker is not None and not worker.done():
            await asyncio.wait([worker], timeout=deadline_seconds)
            if not worker.done():
                worker.cancel()
                await asyncio.wait([worker], timeout=1)
        left = [write for write in self._unstored() if not write.settled]
        self._in_flight, self._waiting, self._outside = [], deque(), deque()
        data: list[Recorded] = [
            write.operation for write in left if isinstance(write.operation, Recorded) and not self._drops(write)
        ]
        rescued = len(data) if data and rescue(data) else 0
        for write in left:
            if write.give_up is not None:
                write.give_up.cancel()
            kept = rescued and isinstance(write.operation, Recorded)
            fate = "; it is kept in the spool file" if kept else ""
            _settle(write, StorageUnavailable(f"the database did not come back before the end{fate}"))
        dropped = sum(isinstance(write.operation, Recorded) and self._drops(write) for write in left)
        return rescued, len(left) - rescued - dropped

    def _drops(self, write: _Write) -> bool:
        """Whether the write comes after the end of its thread; known when its turn has come, not before."""
        if write.thread_id not in self._deleted or isinstance(write.operation, ThreadDeletion | LlmCallWrite):
            return False
        logger.info("a write came after its thread was deleted", extra={"thread_id": write.thread_id})
        return True

    async def _look_again(self, run: list[_Write]) -> None:
        """Forget of the deletion of threads that another process has opened anew: what is written there counts."""
        remembered = {
            write.thread_id for write in run if write.thread_id is not None and write.thread_id in self._deleted
        }
        if remembered:
            async with self._database.read() as connection:
                again = await threads.there(connection, remembered)
            for thread_id in again:
                self._deleted.discard(thread_id)

    async def _work(self) -> None:
        while self._waiting:
            size = min(len(self._waiting), MOST_IN_ONE_TRANSACTION)
            self._in_flight = [self._waiting.popleft() for _ in range(size)]
            for kind, run in _runs(self._in_flight):
                await self._store(run, self._write_steps if kind else self._transact)
            self._bytes -= sum(write.size for write in self._in_flight)
            self._in_flight = []
            self._admit()

    async def _store(self, run: list[_Write], attempt: Attempt) -> None:
        try:
            results = await self._insist(run, attempt)
        except StorageUnavailable as error:
            if len(run) == 1 or not isinstance(error, TimedOut) or self._failed_alone >= MOST_FAILED_ALONE:
                self._failed_alone += 1
                for write in run:
                    _settle(write, error)
                return
            # One that always takes too long must not take the others along: it is found by halving, in order. After a
            # few that fail by themselves it is not the writes' fault.
            middle = len(run) // 2
            await self._store(run[:middle], attempt)
            await self._store(run[middle:], attempt)
        except Exception as error:  # noqa: BLE001  a mistake in one operation must not end the worker
            if len(run) == 1:
                _settle(run[0], error)
                return
            # One of them spoils the batch: each alone, in order, so that only that one fails.
            for write in run:
                await self._store([write], attempt)
        else:
            self._failed_alone = 0
            for write, result in zip(run, results, strict=True):
                _settle(write, result)

    async def _insist(self, run: list[_Write], attempt: Attempt) -> list[Any]:
        """Try again while the database is away."""
        loop = asyncio.get_running_loop()
        give_up = max(write.since for write in run) + self._patience
        if self._away is not None and loop.time() > give_up:
            # They have waited for as long as those before them, who were just told of the failure.
            raise self._away
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                if self._deleted:
                    await self._look_again(run)
                results = await attempt(run)
            except StorageUnavailable as error:
                self._away = None if isinstance(error, TimedOut) else error
                if loop.time() + pause > give_up:
                    raise
                logger.warning("writes wait for the database: %s", error, extra={"waiting": len(self)})
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            except Exception:
                self._away = None
                raise
            else:
                self._away = None
                return results

    async def _transact(self, run: list[_Write]) -> list[Any]:
        if len(run) == 1 and isinstance(run[0].operation, ThreadWrite) and not self._drops(run[0]):
            async with self._database.write_once() as connection:
                if await record_writes.in_one_statement(connection, self._database.dialect, run[0].operation):
                    return [None]
        results: list[Any] = []
        ended: set[str] = set()
        async with self._database.write() as connection:
            for are_calls, some in groupby(run, lambda write: isinstance(write.operation, LlmCallWrite)):
                if are_calls:
                    # A call outlives its thread, so that none is dropped.
                    results += await self._store_calls(connection, list(some))
                    continue
                for write in some:
                    dropped = write.thread_id in ended or self._drops(write)
                    result = _of_dropped(write) if dropped else await self._apply(connection, write.operation)
                    results.append(result)
                    if isinstance(write.operation, ThreadDeletion):
                        ended.add(write.operation.thread_id)
                    elif isinstance(result, Removal):
                        ended.update(result.thread_ids)
        # Not before the deletion is committed: until then what stands before it must not be dropped.
        for thread_id in ended:
            self._deleted.add(thread_id)
        return results

    async def _store_calls(self, connection: AsyncConnection, run: list[_Write]) -> list[None]:
        writes = [cast(LlmCallWrite, write.operation) for write in run]
        await calls.store(connection, self._database.dialect, writes)
        return [None] * len(run)

    async def _apply(self, connection: AsyncConnection, operation: Operation | Recorded) -> Any:
        if isinstance(operation, OtherWrite):
            return await record_writes.apply(connection, self._database.dialect, operation)
        return await cast(Operation, operation)(connection)

    async def _write_steps(self, run: list[_Write]) -> list[Any]:
        writes = {at: cast(StepWrite, write.operation) for at, write in enumerate(run) if not self._drops(write)}
        refusals = dict(zip(writes, await steps.write(self._database, list(writes.values())), strict=True))
        return [refusals.get(at) for at in range(len(run))]


def _runs(writes: list[_Write]) -> list[tuple[bool, list[_Write]]]:
    """Steps and other writes apart, in as few runs as keep the order within each thread; says which are steps.

    When many begin at once, their questions and their threads come in turns, and in the order of calls alone each
    would be a transaction by itself. A write of no thread keeps its place among all.
    """
    runs: list[tuple[bool, list[_Write]]] = []
    earliest: dict[str, int] = {}
    barrier = 0
    for write in writes:
        kind = isinstance(write.operation, StepWrite)
        thread_id = write.thread_id
        first = len(runs) - 1 if thread_id is None else max(barrier, earliest.get(thread_id, 0))
        at = next((number for number in range(max(first, 0), len(runs)) if runs[number][0] == kind), len(runs))
        if at == len(runs):
            runs.append((kind, []))
        runs[at][1].append(write)
        if thread_id is None:
            barrier = at
        else:
            earliest[thread_id] = at
    return runs


def _rough_size(operation: Operation | Recorded) -> int:
    """About how many bytes the write holds on to."""
    if isinstance(operation, StepWrite):
        texts = sum(map(len, filter(None, _texts_of(operation.step))))
        return _BYTES_OF_A_WRITE + texts + sum(map(_size, filter(None, _objects_of(operation.step))))
    if isinstance(operation, ThreadWrite):
        return _BYTES_OF_A_WRITE + _size(operation.thread.metadata)
    if isinstance(operation, LlmCallWrite):
        said = operation.payload
        kept = _size(said.messages) + _size(said.response) if said is not None else 0
        return _BYTES_OF_A_WRITE + _size(operation.call.error_message) + kept
    return _BYTES_OF_A_WRITE


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(_size(key) + _size(inner) + 50 for key, inner in value.items())
    return sum(_size(inner) + 50 for inner in value) if isinstance(value, list) else 0


def _of_dropped(write: _Write) -> NotFound | None:
    """What a write into a deleted thread comes to; a vote must give an id, and there is none."""
    return NotFound("there is no such step") if isinstance(write.operation, VoteWrite) else None


def _end_of(write: _Write) -> asyncio.Future[Any]:
    """Done when the write is stored or has failed, also where its caller went away meanwhile."""
    if write.done.cancelled():
        write.done, write.is_abandoned = write.done.get_loop().create_future(), True
    return write.done


def _settle(write: _Write, result: Any) -> None:
    # Said apart from the future, which a caller that went away has cancelled while its write still waits.
    write.settled = True
    if isinstance(result, Exception) and (write.is_abandoned or write.done.cancelled()):
        thread_id, record_id = ids_of(write.operation) if isinstance(write.operation, Recorded) else (None, None)
        ids = {"thread_id": thread_id, "record_id": record_id}
        logger.error("a write whose caller went away was not stored: %s", result, extra=ids)
    if write.done.done():
        return
    if isinstance(result, Exception):
        _fail(write.done, result)
    else:
        write.done.set_result(result)


def _fail(done: asyncio.Future[Any], error: Exception) -> None:
    done.set_exception(error)
    # Chainlit drops the task that awaits this, and asyncio would complain; the layer has logged the failure itself.
    done.exception()
