"""The write queue: writes are applied in the order of the calls, and a failure reaches its own caller.

Chainlit calls its data layer from tasks that nobody awaits, so the layer itself owns order and durability. `store`
queues a write before its first await. One worker takes everything that waits and commits it: steps in one statement,
other writes in one transaction. While that is in flight, the next writes gather. There is no timer: a lone write leaves
immediately. If one call of the driver stores it, `store` itself makes that call, and the worker is needed only if it
fails. A write that the database refuses is taken out of its batch, and the others are stored. While the database
is unavailable the worker retries with growing pauses until it is back or the patience of the writes ends.
`close` gives back what it could not store in time, so that it can be spooled. `admission` bounds the queue.
"""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from itertools import groupby
from typing import Any, TypeAlias, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.database import Database
from datalayer.dialects import SingleWrites
from datalayer.dialects.lone import UNDECIDED, LoneStatement
from datalayer.errors import StorageUnavailable, TimedOut
from datalayer.ownership import Actor, acting_user
from datalayer.records.usage import LlmCallWrite
from datalayer.records.writes import OtherWrite, Recorded, StepWrite, ThreadCut
from datalayer.writes import apply as record_writes
from datalayer.writes import calls, steps
from datalayer.writes.admission import Admission, Operation, QueuedWrite, fail, rough_size, runs, threads_before

logger = logging.getLogger(__name__)

MOST_IN_ONE_TRANSACTION = 200
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
MOST_QUEUED = 20_000
MOST_QUEUED_BYTES = 64 * 1024**2
ADMISSION_SECONDS = 20.0
WAIT_SECONDS = 5.0
"""How long a read waits for earlier writes."""
MOST_FAILED_ALONE = 3

Attempt: TypeAlias = Callable[[list[QueuedWrite]], Awaitable[list[Any]]]


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
        wrote: Callable[[Actor], None] | None = None,
    ) -> None:
        """Nothing runs until the first write.

        Args:
            wrote: called for each write that is stored or has failed, with the user who acted when it was queued.
            patience_seconds: how long a write is retried while the database is unavailable.
            most_queued, most_queued_bytes, admission_seconds: the bounds, as in `Admission`.
        """
        self._database = database
        self._patience = patience_seconds
        self._wrote = wrote
        self._admission = Admission(
            most_queued=most_queued, most_queued_bytes=most_queued_bytes, seconds=admission_seconds
        )
        self._worker: asyncio.Task[None] | None = None
        self._alone: QueuedWrite | None = None
        self._is_crowded = False
        self._closing = False
        self._away: StorageUnavailable | None = None
        self._failed_alone = 0

    def __len__(self) -> int:
        """The number of writes that are not stored yet."""
        return len(self._admission)

    async def store(
        self, operation: Recorded, thread_id: str | None = None, then: Callable[[], None] | None = None
    ) -> Any:
        """Queue the operation now; gives its result after the commit. If it is alone, it is stored within this call.

        A caller that is cancelled does not wait any longer; the operation is stored all the same.

        Args:
            then: called when the write is stored or has failed, also if nobody waits for it any more.

        Raises:
            StorageUnavailable: the database stayed unavailable, the queue stayed full, or the writer is closed.
            DataLayerError: whatever the operation raised.
        """
        write = self._queued(operation, thread_id, then)
        # When the last batch was shared, its callers come back together: the first of them must not leave alone.
        is_lone = self._is_idle and not self._is_crowded and not self._closing
        attempt = self._lone_attempt(write) if is_lone else None
        if attempt is None:
            self._enter(write)
            return await write.done
        return await self._store_alone(write, attempt)

    def submit(
        self, operation: Operation | Recorded, thread_id: str | None = None, then: Callable[[], None] | None = None
    ) -> asyncio.Future[Any]:
        """Queue the operation now; the future gives its result after the commit, or raises as `store`."""
        write = self._queued(operation, thread_id, then)
        self._enter(write)
        return write.done

    def _queued(
        self, operation: Operation | Recorded, thread_id: str | None, then: Callable[[], None] | None
    ) -> QueuedWrite:
        if self._wrote is not None and not self._closing:
            then = _both(partial(self._wrote, acting_user.get()), then)
        loop = asyncio.get_running_loop()
        return QueuedWrite(thread_id, operation, loop.create_future(), 0, loop.time(), then=then)

    def _enter(self, write: QueuedWrite) -> None:
        if self._closing:
            fail(write.done, StorageUnavailable("the data layer is closed"))
            return
        write.size = rough_size(write.operation)
        if self._admission.enter(write):
            self._wake_worker()

    async def settled(self, thread_id: str | None = None) -> None:
        """Wait until everything queued now (for this thread, or all) is stored or has failed; five seconds at most."""
        if self._is_idle:
            return
        # A write without a thread id may concern this thread.
        pending = [
            write.end()
            for write in self._admission.unstored()
            # A write of a batch is settled before the batch is.
            if not write.settled and (thread_id is None or write.thread_id is None or write.thread_id == thread_id)
        ]
        if pending and (await asyncio.wait(pending, timeout=WAIT_SECONDS))[1]:
            logger.warning(
                "a read did not wait longer than %s seconds for earlier writes",
                WAIT_SECONDS,
                extra={"thread_id": thread_id},
            )

    def waiting_threads(self, seconds: float) -> set[str]:
        """The threads of the writes that were queued more than so many seconds ago and are not stored yet."""
        return threads_before(self._admission.unstored(), seconds) if len(self._admission) else set()

    async def close(
        self, deadline_seconds: float = 10.0, rescue: Callable[[list[Recorded]], bool] = lambda _writes: False
    ) -> tuple[int, int]:
        """Store the waiting writes and accept no more.

        Args:
            rescue: gets, in order, the data writes that could not be stored in time; returns True if it keeps them.

        Returns:
            How many writes were rescued, and how many are lost.
        """
        self._closing = True
        loop = asyncio.get_running_loop()
        ends = loop.time() + deadline_seconds
        while (work := self._at_work) is not None and loop.time() < ends:
            await asyncio.wait([work], timeout=ends - loop.time())
        worker = self._worker
        if worker is not None and not worker.done():
            worker.cancel()
            await asyncio.wait([worker], timeout=1)
        left = self._admission.empty()
        data = [write.operation for write in left if isinstance(write.operation, Recorded)]
        rescued = len(data) if data and rescue(data) else 0
        for write in left:
            kept = rescued and isinstance(write.operation, Recorded)
            fate = "; it is kept in the spool file" if kept else ""
            write.settle(StorageUnavailable(f"the database stayed unavailable until the data layer was closed{fate}"))
        return rescued, len(left) - rescued

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is in flight and nothing waits."""
        return self._alone is None and (self._worker is None or self._worker.done()) and not len(self._admission)

    @property
    def _at_work(self) -> asyncio.Future[Any] | None:
        """What to wait for until everything in flight has ended."""
        if self._worker is not None and not self._worker.done():
            return self._worker
        return self._alone.end() if self._alone is not None else None

    def _lone_attempt(self, write: QueuedWrite) -> Coroutine[Any, Any, Any] | None:
        """What stores the write by itself, in one call of the driver; None if nothing does."""
        dialect = self._database.dialect
        if not dialect.hot_paths.is_ready:
            return None
        single_writes = dialect.single_writes
        if single_writes is None:
            return self._store_step(write) if isinstance(write.operation, StepWrite) else None
        statement = self._one_statement(write, single_writes)
        return None if statement is None else self._execute(write, statement, single_writes)

    async def _store_alone(self, write: QueuedWrite, attempt: Coroutine[Any, Any, Any]) -> Any:
        """Store the write in the caller's own task; what is left to do then is left to the worker."""
        self._alone = write
        self._admission.take_alone(write)
        result, failure = UNDECIDED, None
        try:
            result = await attempt
        except asyncio.CancelledError:
            # The driver cancels the statement, and waits for that before the next one: the worker repeats it.
            write.is_abandoned = True
            self._end_alone(write, UNDECIDED, None)
            raise
        except Exception as error:  # noqa: BLE001  the worker decides
            failure = error
        self._end_alone(write, result, failure)
        return await write.done

    def _end_alone(self, write: QueuedWrite, result: Any, failure: Exception | None) -> None:
        self._alone = None
        if write.settled:
            # `close` did not wait for it any longer.
            return
        if result is UNDECIDED:
            self._start(self._carry_on(write, failure))
            return
        write.settle(result)
        self._admission.release()
        if len(self._admission):
            self._start(self._work())

    async def _carry_on(self, write: QueuedWrite, error: Exception | None) -> None:
        """What `_work` would do after the first attempt at a write."""
        first = [] if error is None else [error]

        async def attempt(run: list[QueuedWrite]) -> list[Any]:
            if first:
                raise first.pop()
            return await (self._write_steps if isinstance(write.operation, StepWrite) else self._transact)(run)

        await self._store([write], attempt)
        self._admission.release()
        await self._work()

    def _wake_worker(self) -> None:
        """Let the worker take what waits, unless something is in flight already."""
        is_busy = self._alone is not None or (self._worker is not None and not self._worker.done())
        if not is_busy and len(self._admission):
            self._start(self._work())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        # In an empty context: the worker acts for many users and must not inherit one of them.
        loop = asyncio.get_running_loop()
        self._worker = loop.create_task(work, name="datalayer-writer", context=contextvars.Context())

    async def _work(self) -> None:
        while batch := self._admission.take(MOST_IN_ONE_TRANSACTION):
            self._is_crowded = len(batch) > 1
            for are_steps, run in runs(batch):
                await self._store(run, self._write_steps if are_steps else self._transact)
            self._admission.release()

    async def _store(self, run: list[QueuedWrite], attempt: Attempt) -> None:
        try:
            results = await self._insist(run, attempt)
        except StorageUnavailable as error:
            if len(run) == 1 or not isinstance(error, TimedOut) or self._failed_alone >= MOST_FAILED_ALONE:
                self._failed_alone += 1
                for write in run:
                    write.settle(error)
                return
            # A write that always times out must not fail the others: it is found by halving, in order. After a few
            # writes that time out alone, the writes are not the cause.
            middle = len(run) // 2
            await self._store(run[:middle], attempt)
            await self._store(run[middle:], attempt)
        except Exception as error:  # noqa: BLE001  a mistake in one operation must not end the worker
            if len(run) == 1:
                run[0].settle(error)
                return
            # One of them spoils the batch: store each alone, in order, so that only that one fails.
            for write in run:
                await self._store([write], attempt)
        else:
            self._failed_alone = 0
            for write, result in zip(run, results, strict=True):
                write.settle(result)

    async def _insist(self, run: list[QueuedWrite], attempt: Attempt) -> list[Any]:
        """Retry while the database is unavailable."""
        loop = asyncio.get_running_loop()
        give_up = max(write.since for write in run) + self._patience
        if self._away is not None and loop.time() > give_up:
            # They have waited as long as the writes before them, which have just failed.
            raise self._away
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                results = await attempt(run)
            except StorageUnavailable as error:
                self._away = None if isinstance(error, TimedOut) else error
                if loop.time() + pause > give_up:
                    raise
                logger.warning("%d writes wait for the database: %s", len(self), error, extra={"waiting": len(self)})
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            except Exception:
                self._away = None
                raise
            else:
                self._away = None
                return results

    async def _transact(self, run: list[QueuedWrite]) -> list[Any]:
        if (result := await self._in_one_statement(run)) is not UNDECIDED:
            return [result]
        only = run[0].operation if len(run) == 1 else None
        if isinstance(only, OtherWrite) and not isinstance(only, ThreadCut):
            return [await record_writes.apply_alone(self._database, only)]
        results: list[Any] = []
        async with self._database.write() as connection:
            for are_calls, some in groupby(run, lambda write: isinstance(write.operation, LlmCallWrite)):
                if are_calls:
                    results += await self._store_calls(connection, list(some))
                else:
                    results += [await self._apply(connection, write.operation) for write in some]
            results[:] = map(QueuedWrite.attempted, run, results)
        return results

    async def _store_calls(self, connection: AsyncConnection, run: list[QueuedWrite]) -> list[None]:
        writes = [cast(LlmCallWrite, write.operation) for write in run]
        await calls.store(connection, self._database.dialect, writes)
        return [None] * len(run)

    async def _apply(self, connection: AsyncConnection, operation: Operation | Recorded) -> Any:
        if isinstance(operation, OtherWrite):
            return await record_writes.apply(connection, self._database.dialect, operation)
        return await cast(Operation, operation)(connection)

    def _one_statement(self, write: QueuedWrite, single_writes: SingleWrites) -> LoneStatement | None:
        """The one statement that stores the write; None if its kind has none, or if the longer way has to be gone."""
        if write.is_undecided:
            return None
        if isinstance(write.operation, StepWrite):
            return single_writes.step_alone(write.operation)
        single = record_writes.single_write(self._database.dialect, write.operation)
        if single is None:
            return None
        return single_writes.alone(single.statement, single.values, single.result, single.thread_id)

    async def _in_one_statement(self, run: list[QueuedWrite]) -> Any:
        """The result of a lone write; UNDECIDED if the longer way has to follow."""
        single_writes = self._database.dialect.single_writes
        if single_writes is None or len(run) > 1:
            return UNDECIDED
        statement = self._one_statement(run[0], single_writes)
        return UNDECIDED if statement is None else await self._execute(run[0], statement, single_writes)

    async def _execute(self, write: QueuedWrite, statement: LoneStatement, single_writes: SingleWrites) -> Any:
        try:
            result = statement.result(await single_writes.execute_once(statement.sql, statement.values))
        except Exception as error:
            # As `translated`, without the cost of a context manager.
            if (ours := self._database.dialect.translate(error)) is None:
                raise
            raise ours from error
        write.is_undecided = result is UNDECIDED
        return result

    async def _store_step(self, write: QueuedWrite) -> Any:
        """Store a step by the hot path alone; UNDECIDED if it was not accepted."""
        dialect = self._database.dialect
        try:
            kept = await dialect.hot_paths.write_steps([cast(StepWrite, write.operation)])
        except Exception as error:
            if (ours := dialect.translate(error)) is None:
                raise
            raise ours from error
        return None if kept else UNDECIDED

    async def _write_steps(self, run: list[QueuedWrite]) -> list[Any]:
        if (result := await self._in_one_statement(run)) is not UNDECIDED:
            return [result]
        return await steps.write(self._database, [cast(StepWrite, write.operation) for write in run])


def _both(first: Callable[[], None], second: Callable[[], None] | None) -> Callable[[], None]:
    def both() -> None:
        first()
        if second is not None:
            second()

    return both
