"""Sends the events of a turn to every page that has its thread open, also to pages opened later.

Chainlit sends the events of a turn to the session that asked. A user who reloads the page during an answer has a new
session, which would get neither the text nor the end of the turn.
"""

from collections.abc import Callable, Coroutine
from typing import Any

import chainlit as cl
from chainlit.emitter import ChainlitEmitter
from chainlit.session import WebsocketSession


class Audience(ChainlitEmitter):
    """The emitter of one turn. Sessions that join later get all further events."""

    def __init__(self, session: WebsocketSession) -> None:
        super().__init__(session)
        self._joined: list[WebsocketSession] = []

    @property
    def sessions(self) -> list[WebsocketSession]:
        return [self.session, *self._joined]

    def join(self, session: WebsocketSession) -> None:
        if session is not self.session and session not in self._joined:
            self._joined.append(session)

    @property
    def emit(self) -> Callable[[str, Any], Coroutine[Any, Any, None]]:
        return self._emit if self._joined else self.session.emit  # type: ignore[return-value]

    async def _emit(self, event: str, data: Any) -> None:
        for session in self.sessions:
            # Typed as if it returned nothing to wait for.
            send: Any = session.emit
            await send(event, data)


def open_audience(session: WebsocketSession) -> Audience:
    """Send all further events of the current task to an audience."""
    audience = Audience(session)
    cl.context.emitter = audience
    return audience


class ResumedPage(ChainlitEmitter):
    """The emitter of a page that resumes a thread: sends the thread, and then the state of its turns.

    Chainlit ends the "task" of the resume handler before it sends the thread, and with it the sign of work and the Stop
    button. So they are sent after the thread.

    Args:
        join: called at the moment in which the thread is sent. It completes the thread and lets the page join the
            audiences of its turns; nothing may be awaited between the two. Returns whether a turn is running.
    """

    def __init__(self, session: WebsocketSession, join: Callable[[Any], bool]) -> None:
        super().__init__(session)
        self._join = join

    async def resume_thread(self, thread_dict: Any) -> None:
        is_running = self._join(thread_dict)
        # The event is encoded and queued before anything else can run, and so is the next one.
        await self.emit("resume_thread", thread_dict)
        if is_running:
            await self.emit("task_start", {})
