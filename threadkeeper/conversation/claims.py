"""One turn at a time in a thread, over all processes: a turn claims its thread in the database.

The claims of a process that died end within seconds.
"""

import asyncio
import contextvars
import logging
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import DataLayerError
from datalayer.ownership import SYSTEM, acting_as

logger = logging.getLogger(__name__)

CLAIM_SECONDS = 10.0
_KEEP_EVERY_SECONDS = 3.0
_LOOK_EVERY_SECONDS = 0.3
_PATIENCE_SECONDS = 2.0


@dataclass
class _Held:
    """A claim; its task is known a moment later."""

    thread_id: str
    task: "asyncio.Task[Any] | None" = None
    is_stopped: bool = False


class Claims:
    """The claims of the turns of this process, which it keeps until they are released."""

    def __init__(self, layer: ChainlitLayer) -> None:
        self._layer = layer
        self._held: dict[str, _Held] = {}
        self._waiting: set[asyncio.Task[Any] | None] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, thread_id: str) -> str | None:
        """Claim the thread; gives the id of the claim, or None if another turn has the thread.

        Raises:
            DataLayerError: the claim cannot be stored.
        """
        holder = str(uuid.uuid4())
        with acting_as(SYSTEM):
            if not await self._layer.claim_turn(thread_id, holder, CLAIM_SECONDS):
                return None
        self._held[holder] = _Held(thread_id)
        if self._keeper is None:
            keeping = self._keep()
            self._keeper = asyncio.get_running_loop().create_task(keeping, context=contextvars.Context())
        return holder

    def run_by(self, holder: str, task: "asyncio.Task[Any] | None") -> None:
        """Remember the task of a turn, which `stop_turn` cancels."""
        if (held := self._held.get(holder)) is not None:
            held.task = task

    def stop_turn(self, holder: str) -> "asyncio.Task[Any] | None":
        """Stop a turn of this process, as Stop on a page; gives its task, or None for a turn of another process."""
        held = self._held.get(holder)
        if held is None or held.task is None:
            return None
        if not held.is_stopped:
            # Once: a turn that ends stores its text so far.
            held.is_stopped = True
            held.task.cancel()
        return held.task

    def is_waiting(self, task: "asyncio.Task[Any]") -> bool:
        """Whether the turn of this task waits until its thread is free."""
        return task in self._waiting

    def release(self, holder: str) -> None:
        """End the claim, in the background."""
        self._forget(holder)
        self._start(self._release(holder))

    @asynccontextmanager
    async def turn(self, thread_id: str, *, waits: bool) -> AsyncIterator[None]:
        """Run the turn of a page when no other turn has the thread.

        If the claim cannot be stored, the turn runs without it: its own reads and writes tell the user.

        Args:
            waits: whether the thread is stored already, so that another turn may have it. The first turn of a new
                thread claims it, and does not wait for the claim.
        """
        if waits:
            task = asyncio.current_task()
            self._waiting.add(task)
            try:
                holder = await self._wait(thread_id)
            finally:
                self._waiting.discard(task)
            if holder is not None:
                self.run_by(holder, task)
            try:
                yield
            finally:
                if holder is not None:
                    self.release(holder)
            return
        claiming = asyncio.create_task(self._try(thread_id, asyncio.current_task()), name="claim-turn")
        try:
            yield
        finally:
            self._start(self._release_claimed(claiming))

    def stop(self) -> None:
        """Keep no claims any more."""
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None

    async def _wait(self, thread_id: str) -> str | None:
        """Claim the thread when it is free; None if that cannot be known now."""
        while True:
            taking = asyncio.create_task(self.take(thread_id), name="claim-turn")
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    holder = await asyncio.shield(taking)
            except DataLayerError as error:
                logger.warning("a turn runs without a claim: %s", error, extra={"thread_id": thread_id})
                return None
            except (TimeoutError, asyncio.CancelledError) as error:
                # It stays queued, and would hold up the next turn if it is stored later.
                self._start(self._release_late(taking))
                if isinstance(error, asyncio.CancelledError):
                    raise
                logger.warning("a turn runs without a claim: no answer", extra={"thread_id": thread_id})
                return None
            if holder is not None:
                return holder
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def _try(self, thread_id: str, turn: "asyncio.Task[Any] | None") -> str | None:
        try:
            holder = await self.take(thread_id)
        except DataLayerError as error:
            logger.warning("a turn runs without a claim: %s", error, extra={"thread_id": thread_id})
            return None
        if holder is not None:
            self.run_by(holder, turn)
        return holder

    async def _release_claimed(self, claiming: "asyncio.Task[str | None]") -> None:
        if (holder := await claiming) is not None:
            self.release(holder)

    async def _release_late(self, taking: "asyncio.Task[str | None]") -> None:
        try:
            await self._release_claimed(taking)
        except DataLayerError as error:
            logger.info("a claim for which no turn waits was not stored: %s", error)

    async def _release(self, holder: str) -> None:
        try:
            with acting_as(SYSTEM):
                await self._layer.release_turn(holder)
        except DataLayerError as error:
            logger.warning("the claim of a turn ends by itself: %s", error)

    async def _keep(self) -> None:
        """Keep the claims until there are none. One that was lost stays lost: its turn ends all the same."""
        while self._held:
            await asyncio.sleep(_KEEP_EVERY_SECONDS)
            held = set(self._held)
            if not held:
                break
            try:
                with acting_as(SYSTEM):
                    kept = await self._layer.keep_turns(held, CLAIM_SECONDS)
                    lost = held & self._held.keys() - kept.keys()
                    of_lost = {self._held[one].thread_id for one in lost}
                    deleted = await self._layer.deleted_among(of_lost) if lost else set()
            except DataLayerError as error:
                logger.warning("the claims of %d turns are not kept: %s", len(held), error)
                continue
            for holder in [one for one, is_stopping in kept.items() if is_stopping]:
                self.stop_turn(holder)
            for holder in lost & self._held.keys():
                thread_id = self._held[holder].thread_id
                ids = {"thread_id": thread_id}
                if thread_id in deleted:
                    logger.info("a turn is stopped: its thread was deleted", extra=ids)
                    self.stop_turn(holder)
                else:
                    logger.warning("a turn lost its thread, because its claim was not kept in time", extra=ids)
                self._forget(holder)
        self._keeper = None

    def _forget(self, holder: str) -> None:
        self._held.pop(holder, None)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
