"""Dates messages by the database's clock, where that of this machine is apart from it.

Each replica dates the messages that it receives, and a thread is shown in the order of these times. With clocks apart,
a question after a change of the replica would stand before older ones.
"""

import asyncio
import importlib
import logging
from typing import Any

from chainlit.utils import utc_now as chainlit_now

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import machine_seconds, utc_now
from datalayer.errors import DataLayerError
from threadkeeper.conversation.looking import Looking

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 60.0
APART_SECONDS = 0.5
"""Less is no matter: nobody changes the replica so fast, and the measurement may take as long."""
MEASURED_SECONDS = 0.1
"""By how much two measurements of the same clocks may differ: half a round trip each."""


class DatabaseClock(Looking):
    """Looks once a minute how far the database's clock is apart, and corrects `utc_now` by it."""

    def __init__(self, layer: ChainlitLayer) -> None:
        super().__init__("database-clock")
        self._layer = layer
        self._is_apart = False

    async def adjust(self) -> None:
        """Raises DataLayerError: the database does not answer. The correction stays."""
        ahead = await self._layer.clock_ahead()
        is_apart = abs(ahead) > APART_SECONDS
        if is_apart:
            # An error of the measurement is no reason: what is dated just before and after would be of two clocks.
            missing = ahead - (utc_now.nanoseconds() / 1e9 - machine_seconds())
            if not self._is_apart or abs(missing) > MEASURED_SECONDS:
                utc_now.correct(ahead)
        elif self._is_apart:
            utc_now.correct(None)
        if is_apart != self._is_apart:
            self._is_apart = is_apart
            words = (
                "the database's clock is %.1f s ahead of this machine's, and dates all messages; synchronize them (NTP)"
                if is_apart
                else "the database's clock is %.1f s ahead of this machine's, which dates messages again"
            )
            logger.warning(words, ahead)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            try:
                await self.adjust()
            except DataLayerError as error:
                logger.warning("the clocks were not compared: %s", error)


def date_messages() -> None:
    """Let Chainlit date its messages and steps with our `utc_now`."""
    # Each has imported it by name. `chainlit.step` is also the name of a function.
    for name in ("emitter", "message", "server", "step"):
        module: Any = importlib.import_module(f"chainlit.{name}")
        assert module.utc_now in (chainlit_now, utc_now)
        module.utc_now = utc_now
