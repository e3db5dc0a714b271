"""Stores the results of steps with DBOS, which is loaded when the first job of the process makes a step.

DBOS has 7 threads and asks the database 7 times a second, so it is closed when no job has made steps for a minute.
ADR 0030 says what it is used for, and what it is not.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from datalayer.database import Database
from datalayer.errors import ConfigurationError, DataLayerError
from datalayer.jobs import rows
from datalayer.jobs.run import Steps

if TYPE_CHECKING:
    from datalayer.jobs.dbos_steps import Engine

logger = logging.getLogger(__name__)

_REST_SECONDS = 60.0


class Checkpoints:
    """Opens the steps of jobs. One object a process: DBOS has global state."""

    def __init__(self, database: Database) -> None:
        self._database = database
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
