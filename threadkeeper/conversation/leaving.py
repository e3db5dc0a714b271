"""Ends the session of a page in the name of its user.

A page without a websocket that falls silent is found by a task that all pages of the process share. It was started for
the first of them, and what a session stores at its end would be refused as that of another user.
"""

import chainlit.socket
import socketio  # type: ignore[import-untyped]
from chainlit.session import WebsocketSession

from datalayer.ownership import acting_as


def leave_as_user(server: socketio.AsyncServer) -> None:
    """Let the end of a socket act as the user of its session."""

    async def disconnect(sid: str, _reason: str) -> None:
        session = WebsocketSession.get(sid)
        if session is None:
            return
        with acting_as(session.user.identifier if session.user is not None else None):
            await chainlit.socket.disconnect(sid)

    server.on("disconnect", disconnect)
