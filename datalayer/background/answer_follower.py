"""Keeps `review_answers` up to date: before a read of the answers, otherwise once a minute.

No write waits for it, because most threads are never reviewed. The marks of one minute are mostly of few threads, and
the rows of a thread are rebuilt once for all of them.
"""

import asyncio
import logging

from datalayer.background.task import BackgroundTask
from datalayer.database import Database
from datalayer.history import answers

logger = logging.getLogger(__name__)

FOLLOW_EVERY_SECONDS = 60.0
WAIT_SECONDS = 5.0
"""How long a list of answers waits for the latest writes to be included."""


class AnswerFollower(BackgroundTask):
    """Rebuilds the answer rows of one database, in one event loop."""

    def __init__(self, database: Database) -> None:
        """Nothing runs until a write or a read."""
        super().__init__("datalayer-answer-follower")
        self._database = database
        self.is_behind = False
        """Whether the latest `caught_up` gave False: a list of answers may lack the newest."""

    def note(self) -> None:
        """A write happened: rebuild within a minute."""
        if self._timer is None:
            self._begin_in(FOLLOW_EVERY_SECONDS)

    async def caught_up(self) -> bool:
        """Wait until all earlier writes are included; False if that failed, or is still going on after five seconds.

        A failure is logged and sets `is_behind`; the rows that exist can still be read.
        """
        self.is_behind = not await self._catch_up()
        return not self.is_behind

    async def _catch_up(self) -> bool:
        if self._closing:
            return False
        # The run in progress may have looked for marks before the latest were written.
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=WAIT_SECONDS)
        task = self._begin()
        if task is None:
            return False
        done, _ = await asyncio.wait([task], timeout=WAIT_SECONDS)
        if not done:
            logger.warning(
                "the answers under review are still being updated after %s seconds: the latest may be missing",
                WAIT_SECONDS,
            )
        return bool(done) and not self._failures

    async def _work(self) -> bool:
        # Mostly there are no marks, and then no read has to wait for its turn to write.
        more = await self._database.query(answers.is_behind)
        while more and not self._closing:
            async with self._database.write() as connection:
                more = await answers.take_marks(connection, self._database.dialect)
        return True

    def _report(self, reason: str) -> None:
        # The marks are still in the database.
        logger.warning(
            "updating the answers under review failed and is retried in a minute; until then, the newest may be "
            "missing: %s",
            reason,
        )

    def _next_pause(self) -> float | None:
        return FOLLOW_EVERY_SECONDS if self._failures else None
