"""Lets a question wait until the page that sent it has its thread.

Whenever its socket connects, a page gets its thread, as it was read a moment before. Chainlit's page connects twice if
the thread has an assistant. A question that it sends meanwhile would be answered, but the page would show neither the
question nor the answer: the thread that comes after the question is without them.
"""

import asyncio
import logging
from typing import Any
from weakref import WeakKeyDictionary

import chainlit as cl
import chainlit.socket
import socketio  # type: ignore[import-untyped]
from chainlit.context import init_ws_context
from chainlit.session import WebsocketSession

logger = logging.getLogger(__name__)

# A page says at once that it is connected, and reads of the store end within their own time.
_LONGEST_WAIT_SECONDS = 60


class Arrivals:
    """The sockets that are connected and whose pages do not have their threads yet."""

    def __init__(self) -> None:
        self._coming: WeakKeyDictionary[WebsocketSession, _Coming] = WeakKeyDictionary()

    def begin(self, session: WebsocketSession) -> None:
        """The session has a new socket, whose page gets the thread next."""
        self._coming.setdefault(session, _Coming()).sid = session.socket_id

    def end(self, session: WebsocketSession, sid: str) -> None:
        """The page behind the socket has its thread. A newer socket of the session may still wait for it."""
        coming = self._coming.get(session)
        if coming is not None and coming.sid == sid:
            del self._coming[session]
            coming.ended.set()

    async def over(self, session: WebsocketSession) -> None:
        """Wait until the page of the session has its thread."""
        try:
            async with asyncio.timeout(_LONGEST_WAIT_SECONDS):
                while (coming := self._coming.get(session)) is not None:
                    await coming.ended.wait()
        except TimeoutError:
            ids = {"thread_id": session.thread_id}
            logger.warning("a page did not take its thread in %s s", _LONGEST_WAIT_SECONDS, extra=ids)


class _Coming:
    """A thread on its way to a page, by the newest socket of the page."""

    def __init__(self) -> None:
        self.sid = ""
        self.ended = asyncio.Event()


def ask_after_arrival(server: socketio.AsyncServer, arrivals: Arrivals) -> None:
    """Let a question wait for the thread of its page, which then gets the question after it.

    The page gets the question in any case: the thread may have been on its way when the page sent the question.
    """

    async def message(sid: str, payload: Any) -> None:
        session = WebsocketSession.get(sid)
        if session is not None and session.thread_id_to_resume:
            await arrivals.over(session)
            init_ws_context(session)
            await cl.context.emitter.send_step(payload["message"])
            # The page may have another socket by now.
            sid = session.socket_id
        await chainlit.socket.message(sid, payload)

    server.on("client_message", message)
