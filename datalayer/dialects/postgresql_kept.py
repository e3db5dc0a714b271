"""A connection of asyncpg's whose `fetch` costs about what a prepared statement costs that its caller holds."""

import asyncio
import math
import time
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any

import asyncpg
from asyncpg.protocol import NO_TIMEOUT

_MOST_DESCRIBED = 500


class KeptStatements(asyncpg.Connection):  # type: ignore[misc]  # the driver has no types
    """`fetch` keeps its statements itself, and has one timer for all of them: the driver looks each up in a cache with
    more to do, and makes and cancels a timer for each, which takes as long as everything else that it does.

    The driver's limits hold: how long a statement may take, how many are kept, for how long, and up to which length.
    Opened with `statement_cache_size=0`, statements have no names on the server, so that each can be run by another
    server process; their descriptions are kept, so that running one again takes one round trip.
    """

    __slots__ = ("_ends", "_is_late", "_kept", "_limit", "_longest", "_most", "_seconds", "_timer", "_waits_for")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._kept: dict[str, tuple[Any, float]] = {}
        config = self._config
        self._limit: float | None = config.command_timeout
        self._most = config.statement_cache_size or _MOST_DESCRIBED
        # Zero means without a limit. What is kept of a statement without a name is a description, and no plan.
        is_named = config.statement_cache_size > 0
        self._seconds = (config.max_cached_statement_lifetime if is_named else 0) or math.inf
        self._longest = (config.max_cacheable_statement_size if is_named else 0) or math.inf
        self._waits_for: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ends = 0.0
        self._is_late = False

    async def fetch(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,  # noqa: ASYNC109  as in the driver
        record_class: Any = None,
    ) -> Any:
        if timeout is not None or record_class is not None or len(query) > self._longest:
            return await super().fetch(query, *args, timeout=timeout, record_class=record_class)
        # Taken out, so that after an error it is prepared again, and put back as the one that was used last.
        kept = self._kept.pop(query, None)
        if kept is None or time.monotonic() - kept[1] > self._seconds:
            kept = await self.prepare(query), time.monotonic()
        try:
            rows = await self._in_time(kept[0].fetch(*args, timeout=NO_TIMEOUT))
        except asyncpg.InvalidCachedStatementError:
            # A table has changed. In a transaction, the statement cannot be repeated.
            if self.is_in_transaction():
                raise
            kept = await self.prepare(query), time.monotonic()
            rows = await kept[0].fetch(*args)
        self._kept[query] = kept
        if len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]
        return rows

    @coroutine
    def _in_time(self, statement: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run the statement, and cancel it after the connection's limit, as the driver does.

        Raises:
            TimeoutError: the statement was cancelled.
        """
        if self._limit is not None:
            now = self._loop.time()
            self._ends = now + self._limit
            if self._timer is None:
                self._timer = self._loop.call_at(self._ends, self._look)
        try:
            awaited = statement.send(None)
            while True:
                self._waits_for = awaited
                try:
                    yield awaited
                except BaseException as error:  # noqa: BLE001  passed on, as by `yield from`
                    awaited = statement.throw(error)
                else:
                    awaited = statement.send(None)
        except StopIteration as end:
            return end.value
        except asyncio.CancelledError:
            if self._is_late:
                raise TimeoutError from None
            raise
        finally:
            self._waits_for, self._is_late = None, False

    def _look(self) -> None:
        """Cancel the statement that runs if it takes too long, or look again when that would be."""
        self._timer = None
        if self._waits_for is None:
            return
        if self._loop.time() < self._ends:
            self._timer = self._loop.call_at(self._ends, self._look)
        else:
            self._is_late = True
            self._waits_for.cancel()
