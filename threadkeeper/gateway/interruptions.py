"""Marks the calls whose server was killed: at the start of each server, and then from time to time.

A call that takes longer than `LEASE_SECONDS` holds a reservation, which its server extends every few seconds. If it has
none, the server has ended. Several servers can look: the second one finds nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from datalayer.billing.in_flight import YOUNG_SECONDS
from datalayer.errors import DataLayerError

logger = logging.getLogger(__name__)

LEASE_SECONDS = YOUNG_SECONDS
"""How long a call counts as in progress after its server was killed."""


class InterruptionStore(Protocol):
    async def end_interrupted_calls(self) -> int: ...


async def mark_interrupted_calls(store: InterruptionStore, every_seconds: float = LEASE_SECONDS) -> None:
    """Runs until it is cancelled."""
    while True:
        try:
            if ended := await store.end_interrupted_calls():
                logger.warning("marked %d calls of the gateway whose server had ended before them", ended)
        except DataLayerError as error:
            logger.warning("cannot look for calls whose server ended; trying again: %s", error)
        await asyncio.sleep(every_seconds)
