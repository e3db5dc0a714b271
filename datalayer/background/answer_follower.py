"""When `review_answers` follows what is written: before somebody looks through answers, else once a minute.

Nobody may ever look, so no write waits for it; and the marks of a minute are mostly of few threads, whose rows are made
once for all of them.
"""

import asyncio
import contextvars
import logging

from datalayer.database import Database
from datalayer.errors import DataLayerError
from datalayer.history import answers

logger = logging.getLogger(__name__)

FOLLOW_EVERY_SECONDS = 60.0
_LET_GO_SECONDS = 1.0


class ReviewFollower:
    """Keeps the answers of one database up with what is written, from one event loop."""

    def __init__(self, database: Database) -> None:
        """Nothing runs until a write or a read."""
        self._database = database
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    def note(self) -> None:
        """Something was written: follow within a minute."""
        if self._timer is None and not self._closing:
            self._timer = asyncio.get_running_loop().call_later(FOLLOW_EVERY_SECONDS, self._begin)

    async def caught_up(self, *, timeout_seconds: float = 5.0) -> bool:
        """Wait until what was written before is there; False where it took too long or failed, and goes on."""
        if self._closing:
            return False
        # What is under way may have looked for marks before the latest were there.
        under_way = self._task
        if under_way is not None and not under_way.done():
            await asyncio.wait([under_way], timeout=timeout_seconds)
        task = self._begin()
        if task is None:
            return False
        done, _ = await asyncio.wait([task], timeout=timeout_seconds)
        if not done:
            logger.warning("the answers to review are still being gathered: the latest may be missing")
        return bool(done)

    async def stop(self) -> None:
        """Finish the batch that is under way, if it takes no longer than a second, and take up no other."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=_LET_GO_SECONDS)
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task], timeout=_LET_GO_SECONDS)

    def _begin(self) -> "asyncio.Task[None] | None":
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._closing and (self._task is None or self._task.done()):
            # In a context of its own: it reads for all users and must not inherit one of them.
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name="datalayer-review-follower", context=contextvars.Context()
            )
        return self._task

    async def _run(self) -> None:
        try:
            # Mostly nothing was written, and then no read has to wait for a turn to write.
            more = await self._database.query(answers.is_behind)
            while more and not self._closing:
                async with self._database.write() as connection:
                    more = await answers.take_marks(connection, self._database.dialect)
        except DataLayerError as error:
            # The marks stay, for the next time.
            logger.warning("answers wait to be gathered for the review: %s", error)
            self.note()
