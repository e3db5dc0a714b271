"""Stores the rows of calls beside the answers, and ends their reservations. A failure is logged with the call's id."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from datalayer.errors import DataLayerError
from datalayer.records.usage import LlmCall, LlmCallPayload, Price
from threadkeeper.chat.metering.cached import CachedValue
from threadkeeper.chat.metering.limits import RESERVED_SECONDS
from threadkeeper.pricing.rates import compile_patterns
from threadkeeper.tracing import hooks
from threadkeeper.tracing.hooks import CallFacts

logger = logging.getLogger(__name__)

_PRICES_SECONDS = 10.0
_CLOSE_SECONDS = 0.5


class RowStore(Protocol):
    async def record_call(self, call: LlmCall, payload: LlmCallPayload | None = None) -> None: ...
    async def list_prices(self) -> list[Price]: ...
    async def extend(self, call_id: str, *, seconds: float) -> None: ...
    async def release(self, call_id: str) -> None: ...


class CallKeeper:
    """Stores rows in the background, and knows the prices that rows are made with.

    `keep_payloads`: whether messages and answer are stored with each call.
    """

    def __init__(self, store: RowStore, *, keep_payloads: bool) -> None:
        self._store, self._keep_payloads = store, keep_payloads
        self._keeping: set[asyncio.Task[None]] = set()
        self._prices = CachedValue("the prices", self._read_prices, _PRICES_SECONDS)

    @property
    def prices(self) -> Sequence[Price]:
        """The operator's prices as they were read last, the newest first."""
        return self._prices.newest or ()

    def begin_reading(self) -> None:
        """Begin to read the prices if they are old."""
        self._prices.begin_reading()

    async def read_prices(self) -> None:
        """Read the prices again if they are old."""
        await self.known(self._prices)

    async def _read_prices(self) -> Sequence[Price]:
        prices = await self._store.list_prices()
        if prices:
            # An imported list has up to 2,000 patterns, which take a third of a second: not on the event loop.
            await asyncio.to_thread(compile_patterns, prices)
        return prices

    async def known(self, cached: CachedValue[Any]) -> Any:
        """The value; None if it cannot be read, so that a call is made all the same."""
        try:
            return await cached.get()
        except (DataLayerError, TimeoutError) as error:
            logger.warning("cannot read prices or project; the row of this call may have no cost or project: %s", error)
            return None

    def beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run this in the background."""
        task = asyncio.create_task(work)
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)
        return task

    async def keep(
        self,
        rows: Sequence[LlmCall],
        payload_of: Callable[[LlmCall], LlmCallPayload],
        facts: CallFacts,
        *,
        has_reserved: bool,
    ) -> None:
        """Store the rows of one call, the last one with its payload, trace them, and end its reservation."""
        payload = self._made(rows[-1], payload_of) if self._keep_payloads or hooks.takes_texts() else None
        hooks.record_calls(rows, facts, payload)
        # At once and in this order: the reservation must end when the row counts, not before.
        writes = [self._store.record_call(row) for row in rows[:-1]]
        writes.append(self._store.record_call(rows[-1], payload if self._keep_payloads else None))
        if has_reserved:
            writes.append(self.release(rows[-1].id))
        for failure in await asyncio.gather(*writes, return_exceptions=True):
            if isinstance(failure, Exception):
                ids = {"thread_id": rows[-1].thread_id, "call_id": rows[-1].id}
                logger.error("the usage of a model call is not stored: %s", failure, extra=ids)

    def _made(self, row: LlmCall, payload_of: Callable[[LlmCall], LlmCallPayload]) -> LlmCallPayload | None:
        try:
            return payload_of(row)
        except Exception:
            logger.exception("a call is stored without its messages and its answer", extra={"call_id": row.id})
            return None

    async def extend(self, call_id: str) -> None:
        """Extend the reservation of a call that takes long."""
        try:
            await self._store.extend(call_id, seconds=RESERVED_SECONDS)
        except DataLayerError as error:
            logger.warning("cannot extend the reservation of a call: %s", error)

    async def release(self, call_id: str) -> None:
        """End the reservation of a call."""
        try:
            await self._store.release(call_id)
        except DataLayerError as error:
            logger.warning("cannot release the reservation of a call; it counts until it expires: %s", error)

    async def close(self) -> None:
        """Wait until open rows are in the store's queue, for half a second at most."""
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=_CLOSE_SECONDS)
