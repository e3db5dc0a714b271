"""Stores the results of steps with DBOS, which is loaded when the first job of the process makes a step.

DBOS has 7 threads and asks the database 7 times a second, so it is closed when no job has made steps for a minute.
ADR 0030 says what it is used for, and what it is not.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from datalayer.database import Database
from datalayer.errors import ConfigurationError, DataLayerError, StorageUnavailable
from datalayer.jobs import claims, rows
from datalayer.jobs.run import Steps

if TYPE_CHECKING:
    from datalayer.jobs.dbos_steps import Engine

logger = logging.getLogger(__name__)

_REST_SECONDS = 60.0
_OPENING_SECONDS = 60.0
_PAUSE_SECONDS = 0.2


class Checkpoints:
    """Opens the steps of jobs. One object a process: DBOS has global state."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._id = str(uuid.uuid4())
        self._engine: Engine | None = None
        self._opening = asyncio.Lock()
        self._users = 0
        self._used_at = 0.0

    async def __call__(self, job_id: str) -> Steps:
        """The steps of a new run of this job.

        Raises:
            ConfigurationError: DBOS is not installed, or may not create its tables.
            StorageUnavailable: its database cannot be used now.
        """
        async with self._opening:
            self._users += 1
            try:
                engine = self._engine
                if engine is None:
                    async with self._alone():
                        engine = self._engine = await asyncio.to_thread(self._open, asyncio.get_running_loop())
                steps = await asyncio.to_thread(engine.begin, job_id)
            except BaseException:
                self._users -= 1
                raise
        return _Counted(steps, self._leave)

    async def rest(self) -> None:
        """Close DBOS if no job has used it for a while."""
        if self._engine is not None and not self._users and time.monotonic() - self._used_at > _REST_SECONDS:
            await self.close()

    async def close(self) -> None:
        """Close DBOS, and before it delete the steps of jobs that will never run again."""
        async with self._opening:
            engine, self._engine = self._engine, None
            if engine is None:
                return
            try:
                known = await asyncio.to_thread(engine.known)
                needed = await self._database.query(lambda connection: rows.with_steps(connection, known))
                if left := [job_id for job_id in known if job_id not in needed]:
                    await asyncio.to_thread(engine.forget, left)
            except DataLayerError as error:
                logger.warning("the steps of jobs that are done are deleted later: %s", error)
            finally:
                await asyncio.to_thread(engine.close)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """No other process opens DBOS meanwhile, which may create or change its tables.

        DBOS has a lock of its own for that, of a session: a pooler loses it (ADR 0028). A lock of a transaction would
        stop DBOS, which creates indexes without locks and for that waits for open transactions.
        """
        ends = time.monotonic() + 2 * _OPENING_SECONDS
        while not await self._elect():
            if time.monotonic() > ends:
                raise StorageUnavailable("another process opens the store of the steps of jobs, and does not end")
            await asyncio.sleep(_PAUSE_SECONDS)
        try:
            yield
        finally:
            async with self._database.write() as connection:
                await claims.resign(connection, self._id, claims.OPENER)

    async def _elect(self) -> bool:
        async with self._database.write() as connection:
            dialect = self._database.dialect
            return await claims.elect(connection, dialect, self._id, _OPENING_SECONDS, claims.OPENER)

    def _leave(self) -> None:
        self._users -= 1
        self._used_at = time.monotonic()

    def _open(self, loop: asyncio.AbstractEventLoop) -> "Engine":
        try:
            from datalayer.jobs.dbos_steps import Engine  # noqa: PLC0415  heavy, and few processes need it
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"jobs need the package {error.name}: install `threadkeeper[jobs]`") from error
        return Engine(self._database, loop)


class _Counted:
    def __init__(self, steps: Steps, leave: Callable[[], None]) -> None:
        self._steps, self._leave = steps, leave

    async def step(self, name: str, work: Callable[[], Awaitable[str]]) -> str:
        return await self._steps.step(name, work)

    async def end(self, *, is_done: bool) -> None:
        try:
            await self._steps.end(is_done=is_done)
        finally:
            self._leave()
