"""Tells a page that what it shows is not saved yet, because its writes wait for the database.

A write waits for a minute while the database is away, as between the failure of a primary and the promotion of its
standby. Nothing is lost by a short wait, and nothing is said of it. A write that is given up is told by
`write_failures`.
"""

import asyncio
import logging
from weakref import WeakKeyDictionary

import chainlit as cl
from chainlit.context import init_ws_context
from chainlit.session import WebsocketSession, ws_sessions_id

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import known_id
from datalayer.ownership import SYSTEM, acting_as
from threadkeeper.chat.wording import say
from threadkeeper.conversation.language import language_of_session
from threadkeeper.conversation.looking import Looking

logger = logging.getLogger(__name__)

LONG_SECONDS = 5.0
_LOOK_EVERY_SECONDS = 1.0
_SAID_AGAIN_AFTER_SECONDS = 20.0


class LongWaits(Looking):
    """Looks once a second at the writes that wait, and tells the open pages of their threads."""

    def __init__(self, layer: ChainlitLayer) -> None:
        super().__init__("long-waits")
        self._layer = layer
        self._said: WeakKeyDictionary[WebsocketSession, float] = WeakKeyDictionary()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            try:
                await self.look()
            except Exception:
                logger.exception("pages were not told that their writes wait for the database")

    async def look(self) -> None:
        """Tell each page whose thread has a write that waits for long; again after some seconds, while it waits."""
        with acting_as(SYSTEM):
            waiting = self._layer.waiting_threads(LONG_SECONDS)
        if not waiting:
            return
        now = asyncio.get_running_loop().time()
        for page in list(ws_sessions_id.values()):
            said = self._said.get(page)
            if known_id(page.thread_id) in waiting and (said is None or now - said >= _SAID_AGAIN_AFTER_SECONDS):
                self._said[page] = now
                init_ws_context(page)
                await cl.context.emitter.send_toast(say("saving_waits", language_of_session()), "warning")
