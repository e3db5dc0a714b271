"""Indexes texts for the search: soon after a write, never within it, and before a search.

Cutting a text into tokens and storing them costs more than writing the text, and a growing answer is written many
times. So a write only leaves a mark (`search_triggers`), and this task takes the marks in batches: one second after a
write, once for everything written meanwhile. The event loop is free between two batches, and while writes wait for the
database the task sleeps half of the time. Texts from before the index existed are indexed after the marks. Nothing runs
while nothing is written. Marks that are left when the process ends are processed at the next start.

A search does not wait for this task. It asks the database how many texts of its user wait, whoever wrote them, and
indexes those itself (`own_left`), up to `MOST_AT_ONCE`. If more wait, the task takes them before those of other users,
and the search is told how many are left.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from weakref import WeakValueDictionary

from datalayer.background.task import STOP_SECONDS, BackgroundTask
from datalayer.database import Database
from datalayer.errors import InvalidRecord, StorageUnavailable
from datalayer.history import search_index
from datalayer.history.search_index import Found, Walk

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
WAIT_SECONDS = 5.0
"""How long a search in the texts of all users waits for the index."""
COUNT_SECONDS = 5.0
"""How long a number of waiting texts holds, if it is large."""
BATCH = 500
SLICE_SECONDS = 0.002
REPORT_EVERY_SECONDS = 10.0
_LONG_TEXT = 20_000


class SearchIndexer(BackgroundTask):
    """Updates the search index of one database, in one event loop."""

    def __init__(self, database: Database, *, is_busy: Callable[[], bool] = lambda: False) -> None:
        """Nothing runs until a write or a search.

        Args:
            is_busy: whether writes wait for the database.
        """
        super().__init__("datalayer-search-indexer")
        self._database = database
        self._is_busy = is_busy
        # Writes noted, and how many of them are indexed. The first stands for the marks of earlier processes.
        self._noted, self._indexed = 1, 0
        self._turn = asyncio.Event()
        self._searches = 0
        self._batch = BATCH
        self._walked = 0
        self._deleted = self._forgetting = False
        # Users whose many texts are indexed before those of others, and users without texts from before the index.
        self._first: dict[str, None] = {}
        self._walked_users: set[str] = set()
        self._walks: tuple[Walk, ...] = ()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._counting = asyncio.Lock()
        self._counted: tuple[float, int] | None = None
        self._own_counted: dict[str, tuple[float, int]] = {}

    def note(self, *, deleted: bool = False) -> None:
        """Something was written, or deleted: update the index soon."""
        self._noted += 1
        self._deleted |= deleted
        if self._timer is None and not self._is_running:
            self._begin_in(PAUSE_SECONDS)

    async def caught_up(self) -> bool:
        """Wait until all earlier writes of this process are indexed; False if that failed, or took five seconds."""
        aim, failures = self._noted, self._failures
        self._searches += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while self._indexed < aim and self._failures == failures and not self._closing:
                    self._begin()
                    await self._turn.wait()
        except TimeoutError:
            logger.warning(
                "a search did not wait longer than %s seconds for the index: it may miss the latest texts",
                WAIT_SECONDS,
            )
        finally:
            self._searches -= 1
        return self._indexed >= aim

    async def own_left(self, user_id: str) -> int:
        """Index the texts of this user that wait, if they are not too many; gives how many are left.

        Zero means that a search in the texts of this user is complete.

        Raises:
            StorageUnavailable: the database does not tell how many wait.
        """
        # One at a time, and each counts for itself: a text may have been written since the one before counted.
        async with self._locks.setdefault(user_id, asyncio.Lock()):
            while True:
                own, walks = await search_index.waiting_of(self._database, user_id)
                self._note_walks(walks)
                is_older = bool(walks) and user_id not in self._walked_users
                if not own and not is_older:
                    return 0
                if own > search_index.MOST_AT_ONCE or self._closing:
                    self._first[user_id] = None
                    self._begin()
                    return await self._count_own(user_id)
                try:
                    if own:
                        await self._take_own(user_id)
                    elif await search_index.mark_older(self._database, user_id):
                        self._walked_users.add(user_id)
                except StorageUnavailable as error:
                    # Another process may lock the index while texts can be read.
                    left = await search_index.waiting_of_user(self._database, user_id)
                    logger.warning("%d texts of a user cannot be indexed for the search now: %s", left, error)
                    return left

    def _note_walks(self, walks: tuple[Walk, ...]) -> None:
        """Forget whose texts were marked if a walk has begun again, as after a restore or a failover that lost some."""
        if not all(walk.follows(self._walks) for walk in walks):
            self._walked_users.clear()
        self._walks = walks

    async def _count_own(self, user_id: str) -> int:
        """How many texts of this user wait. A large number is counted again after five seconds only."""
        until, count = self._own_counted.get(user_id, (0.0, 0))
        if time.monotonic() > until:
            count = await search_index.waiting_of_user(self._database, user_id)
            self._own_counted.pop(user_id, None)
            if count > search_index.MOST_AT_ONCE:
                self._own_counted[user_id] = time.monotonic() + COUNT_SECONDS, count
        return count

    async def all_left(self) -> int:
        """Index the texts of all users that wait, if they are not too many; gives how many are left."""
        count = await self.count()
        if 0 < count <= search_index.MOST_AT_ONCE:
            # Other processes may have written some of them.
            self._noted += 1
            await self.caught_up()
            count = await self.count()
        elif count:
            self._begin()
        return count

    async def count(self) -> int:
        """How many texts of all users wait. A large number is counted again after five seconds only."""
        async with self._counting:
            if self._counted is None or time.monotonic() > self._counted[0]:
                count = await search_index.waiting(self._database)
                lasts = COUNT_SECONDS if count > search_index.MOST_AT_ONCE else 0.0
                self._counted = time.monotonic() + lasts, count
            return self._counted[1]

    async def _take_own(self, user_id: str) -> None:
        """Index some marked texts of this user."""
        await self._store_apart(await _cut(await search_index.marked_of(self._database, user_id)))

    async def _store_apart(self, words: Sequence[tuple[Found, str | None]]) -> None:
        """Store the words; a text that the index refuses is found by halving, and skipped."""
        try:
            async with self._database.write() as connection:
                await search_index.store(connection, self._database.dialect, words)
        except InvalidRecord as error:
            if len(words) == 1:
                await self._skip(words[0][0], error)
                return
            middle = len(words) // 2
            await self._store_apart(words[:middle])
            await self._store_apart(words[middle:])

    async def finish(self) -> None:
        """Index everything, older texts included, however long it takes; ends early if the database fails."""
        # The run in progress may have read the marks before the latest were written.
        self._noted += 1
        aim, failures = self._noted, self._failures
        while (self._indexed < aim or self._is_running) and self._failures == failures and not self._closing:
            task = self._begin()
            if task is not None:
                await asyncio.wait([task])
        self._counted = None
        self._own_counted.clear()

    async def stop(self) -> None:
        await super().stop()
        self._end_turn()
        # A search in progress ends with its batch, before the connections are closed. Its marks are still there if not.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                for lock in list(self._locks.values()):
                    async with lock:
                        pass

    async def _work(self) -> bool:
        try:
            await self._index()
        finally:
            self._end_turn()
        return True

    def _report(self, reason: str) -> None:
        # The marks are still in the database.
        logger.warning("indexing texts for the search failed and is retried: %s", reason)

    def _next_pause(self) -> float | None:
        if self._failures:
            return self._back_off(PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        return PAUSE_SECONDS if self._noted > self._indexed or self._is_busy() else None

    async def _index(self) -> None:
        reported = time.monotonic()
        while not self._closing:
            aim, begun = self._noted, time.monotonic()
            more = await self._take_first() or await self._take_marked()
            if not more:
                self._indexed = aim
                self._end_turn()
                if self._closing or not (await self._walk() or await self._forget()):
                    return
            if time.monotonic() - reported > REPORT_EVERY_SECONDS:
                reported = time.monotonic()
                logger.info("building the search index: %d texts so far", self._walked)
            if self._is_busy() and not self._searches:
                await asyncio.sleep(time.monotonic() - begun)

    async def _take_first(self) -> bool:
        """Index marked texts of a user who has searched and has many; False if there is none."""
        for user_id in list(self._first):
            own, _ = await search_index.waiting_of(self._database, user_id)
            if own:
                await self._take_own(user_id)
                return True
            del self._first[user_id]
        return False

    def _end_turn(self) -> None:
        """Wake the searches that wait; they look at how far the index is."""
        self._turn.set()
        self._turn = asyncio.Event()

    async def _take_marked(self) -> bool:
        """Index the oldest marked texts; True if there may be more."""
        async with self._database.read() as connection:
            found, more = await search_index.marked(connection, self._database.dialect, self._batch)
        if not found:
            return False
        words = await _cut(found)
        try:
            async with self._database.write() as connection:
                await search_index.store(connection, self._database.dialect, words)
        except InvalidRecord as error:
            await self._take_apart(found, error)
            return True
        self._batch = min(BATCH, self._batch * 2)
        return more

    async def _take_apart(self, found: Sequence[Found], error: InvalidRecord) -> None:
        """Find the text that made a batch fail: a step or thread deleted meanwhile is not found by the next read."""
        if self._batch > 1:
            self._batch = 1
            return
        await self._skip(found[0], error)
        self._batch = BATCH

    async def _skip(self, found: Found, error: InvalidRecord) -> None:
        ids = {"thread_id": found.thread_id, "record_id": found.step_id}
        logger.error("a text cannot be indexed for the search and is skipped: %s", error, extra=ids)
        async with self._database.write() as connection:
            await search_index.dismiss(connection, found.marks)

    async def _walk(self) -> bool:
        """Index the next texts from before the index existed; False if there are none left."""
        async with self._database.read() as connection:
            part = await search_index.backlog(connection, self._database.dialect, BATCH)
        if part is None:
            if self._walked:
                logger.info("built the search index: %d texts", self._walked)
                self._walked = 0
            return False
        walk, found, after = part
        words = await _cut(found)
        # Fails if one of the steps is deleted at this moment; the same part is then indexed again, after a pause.
        async with self._database.write() as connection:
            mine = await search_index.store_backlog(connection, self._database.dialect, walk, words, after)
        self._walked += len(words) if mine else 0
        return True

    async def _forget(self) -> bool:
        """Remove a part of the deleted words from the pages of the index; True if there may be more."""
        if not self._deleted:
            return False
        self._deleted, begins = False, not self._forgetting
        async with self._database.write() as connection:
            self._forgetting = await self._database.dialect.forget_words(connection, begins=begins)
        self._deleted |= self._forgetting
        return self._deleted


async def _cut(found: Sequence[Found]) -> list[tuple[Found, str | None]]:
    """Each text with its words; the event loop is free after each slice of `SLICE_SECONDS`."""
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
