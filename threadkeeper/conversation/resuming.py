"""Resumes the thread of the address bar, in whatever order the sockets of a page connect.

Opened at `/thread/ID`, Chainlit's page starts a socket without a thread, and a moment later one with the thread. Both
name the same session. If the first one connects before the page closes it, Chainlit restores the session without its
thread for the second one: it starts a new chat, and the page waits for the thread until it is reloaded. The same
happens when a connection breaks before the thread is resumed.
"""

from typing import Any

import chainlit.socket
import socketio  # type: ignore[import-untyped]
from chainlit.session import WebsocketSession

from threadkeeper.conversation.arrivals import Arrivals


def resume_on_any_socket(server: socketio.AsyncServer, arrivals: Arrivals) -> None:
    """Let a session resume the thread that its newest socket names, until the thread is resumed."""

    async def connect(sid: str, environ: dict[str, Any], auth: dict[str, Any]) -> bool:
        session = await _connect(sid, environ, auth)
        if session is not None and session.thread_id_to_resume:
            arrivals.begin(session)
        return True

    server.on("connect", connect)


async def _connect(sid: str, environ: dict[str, Any], auth: dict[str, Any]) -> WebsocketSession | None:
    """Chainlit's handler, with the thread of a restored session set; gives the session.

    Raises:
        ConnectionRefusedError: as Chainlit's handler; or the socket names no thread, and its session has one. Such a
            socket was left by the page, and would receive the events of the socket that the page uses.
    """
    thread_id = auth.get("threadId")
    session: WebsocketSession | None = WebsocketSession.get_by_id(auth["sessionId"])
    if session and session.thread_id_to_resume and not thread_id:
        raise ConnectionRefusedError("this socket was replaced by a newer one of the same session")
    await chainlit.socket.connect(sid, environ, auth)
    session = WebsocketSession.get(sid)
    if session and session.restored and thread_id and not session.has_first_interaction:
        # Chainlit has checked that the thread is the user's, and checks it again when it resumes the thread.
        session.thread_id_to_resume, session.restored = thread_id, False
    return session
