"""When texts are indexed for the search: soon after they are written, never within the write, and before a search.

To cut a text into tokens and store them costs more than to write it, and a growing answer is written again and again.
So a write only leaves a mark (`search_triggers`), and this takes the marks in batches: a second after a write, once
for all that was written meanwhile, or at once where someone searches, who waits for it. Between two batches the event
loop is free, and while writes wait for the database it stands back half of the time. What was in the database before
the index is walked through after the marks, and no search waits for that. Nothing runs while nothing happens, and what
is not indexed when the process ends is still marked when the next one starts.
"""

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable, Sequence

from datalayer.database import Database
from datalayer.errors import DataLayerError, InvalidRecord
from datalayer.history import search_index
from datalayer.history.search_index import Found

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
BATCH = 200
SLICE_SECONDS = 0.002
TOLD_EVERY_SECONDS = 10.0
_LONG_TEXT = 20_000
_LET_GO_SECONDS = 1.0


class Indexer:
    """Keeps the search index of one database up with what is written, from one event loop."""

    def __init__(self, database: Database, *, is_busy: Callable[[], bool] = lambda: False) -> None:
        """Nothing runs until a write or a search.

        Args:
            is_busy: whether writes wait for the database.
        """
        self._database = database
        self._is_busy = is_busy
        # Writes noted, and how many of them the index has. The first stands for what earlier processes left.
        self._noted, self._indexed = 1, 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._turn = asyncio.Event()
        self._searches = 0
        self._failures = 0
        self._batch = BATCH
        self._walked = 0
        self._deleted = self._forgetting = False
        self._closing = False

    def note(self, *, deleted: bool = False) -> None:
        """Something was written, or deleted: have the index follow soon."""
        self._noted += 1
        self._deleted |= deleted
        if not self._is_running() and self._timer is None:
            self._later(PAUSE_SECONDS)

    async def caught_up(self, *, timeout_seconds: float = 2.0) -> bool:
        """Wait until what was written through this process is indexed; False where it took too long or failed."""
        aim, failures = self._noted, self._failures
        self._searches += 1
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._indexed < aim and self._failures == failures and not self._closing:
                    self._begin()
                    await self._turn.wait()
        except TimeoutError:
            logger.warning("a search did not wait for the index any longer: the latest texts may be missing from it")
        finally:
            self._searches -= 1
        return self._indexed >= aim

    async def finish(self) -> None:
        """Index all there is, the backlog included, however long it takes, unless the database goes away meanwhile."""
        # What is under way may have looked at the marks before the latest were there.
        self._noted += 1
        aim, failures = self._noted, self._failures
        while (self._indexed < aim or self._is_running()) and self._failures == failures and not self._closing:
            self._begin()
            if self._task is not None:
                await asyncio.wait([self._task])

    async def stop(self) -> None:
        """Finish the batch that is under way, if it takes no longer than a second, and take up no other."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and self._is_running():
            await asyncio.wait([self._task], timeout=_LET_GO_SECONDS)
            if self._is_running():
                self._task.cancel()
                await asyncio.wait([self._task], timeout=_LET_GO_SECONDS)
        self._end_turn()

    def _is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    def _later(self, seconds: float) -> None:
        if not self._closing:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._is_running() and not self._closing:
            # In a context of its own: it reads for all users and must not inherit one of them.
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name="datalayer-indexer", context=contextvars.Context()
            )

    async def _run(self) -> None:
        try:
            await self._work()
        except Exception as error:  # noqa: BLE001  the marks stay, and the next round must come whatever this one met
            self._failures += 1
            pause = min(PAUSE_SECONDS * 2 ** min(self._failures, 6), LONGEST_PAUSE_SECONDS)
            said = str(error) if isinstance(error, DataLayerError) else type(error).__name__
            logger.warning("texts wait to be indexed for the search: %s", said)
            self._later(pause)
        else:
            self._failures = 0
            if self._noted > self._indexed or self._is_busy():
                self._later(PAUSE_SECONDS)
        finally:
            self._end_turn()

    async def _work(self) -> None:
        told = time.monotonic()
        while not self._closing:
            aim, begun = self._noted, time.monotonic()
            more = await self._take_marked()
            if not more:
                self._indexed = aim
                self._end_turn()
                if self._closing or not (await self._walk() or await self._forget()):
                    return
            if time.monotonic() - told > TOLD_EVERY_SECONDS:
                told = time.monotonic()
                logger.info("the search index is being built: %d texts so far", self._walked)
            if self._is_busy() and not self._searches:
                await asyncio.sleep(time.monotonic() - begun)

    def _end_turn(self) -> None:
        self._turn.set()
        self._turn = asyncio.Event()

    async def _take_marked(self) -> bool:
        """Index the oldest marks; whether there may be more."""
        async with self._database.read() as connection:
            found = await search_index.marked(connection, self._batch)
        if not found:
            return False
        words = await _cut(found)
        try:
            async with self._database.write() as connection:
                await search_index.store(connection, self._database.dialect, words)
        except InvalidRecord as error:
            await self._take_apart(found, error)
            return True
        full = sum(len(one.marks) for one in found) >= self._batch
        self._batch = min(BATCH, self._batch * 2)
        return full

    async def _take_apart(self, found: Sequence[Found], error: InvalidRecord) -> None:
        """A step or thread that is deleted at this moment spoils its batch, and is gone when it is read again."""
        if self._batch > 1:
            self._batch = 1
            return
        marks = [mark for one in found for mark in one.marks]
        ids = {"thread_id": found[0].thread_id, "record_id": found[0].step_id}
        logger.error("a text cannot be indexed for the search: %s", error, extra=ids)
        async with self._database.write() as connection:
            await search_index.dismiss(connection, marks)
        self._batch = BATCH

    async def _walk(self) -> bool:
        """Index the next of what was there before the index; whether there was any."""
        async with self._database.read() as connection:
            part = await search_index.backlog(connection, BATCH)
        if part is None:
            if self._walked:
                logger.info("the search index is built: %d texts", self._walked)
                self._walked = 0
            return False
        walk, found, after = part
        words = await _cut(found)
        # Refused where a step of it is deleted at this moment: the same part is walked once more, after a pause.
        async with self._database.write() as connection:
            mine = await search_index.store_backlog(connection, self._database.dialect, walk, words, after)
        self._walked += len(words) if mine else 0
        return True

    async def _forget(self) -> bool:
        """Take a part of what was deleted out of the index's own pages; whether there may be more."""
        if not self._deleted:
            return False
        self._deleted, begins = False, not self._forgetting
        async with self._database.write() as connection:
            self._forgetting = await self._database.dialect.forget_words(connection, begins=begins)
        self._deleted |= self._forgetting
        return self._deleted


async def _cut(found: Sequence[Found]) -> list[tuple[Found, str | None]]:
    """Each with its words, in slices between which the event loop is free."""
    cut: list[tuple[Found, str | None]] = []
    begun = time.perf_counter()
    for one in found:
        if sum(map(len, one.texts)) > _LONG_TEXT:
            cut.append((one, await asyncio.to_thread(one.words)))
        else:
            cut.append((one, one.words()))
        if time.perf_counter() - begun > SLICE_SECONDS:
            await asyncio.sleep(0)
            begun = time.perf_counter()
    return cut
