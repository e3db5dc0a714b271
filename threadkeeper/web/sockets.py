"""Sends an event to the one browser that it is for without a task of its own.

python-socketio's manager makes a task for every recipient and waits for all of them. A chat has one recipient an event,
and many events an answer: the task and the waiting were an eighth of what an answer cost (docs/adr/0009).
"""

from typing import Any

import socketio  # type: ignore[import-untyped]
from socketio.packet import EVENT  # type: ignore[import-untyped]


class DirectManager(socketio.AsyncManager):  # type: ignore[misc]
    """The manager of a server whose events mostly have one recipient; all others go the library's way."""

    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str,
        *,
        room: Any = None,
        skip_sid: Any = None,
        callback: Any = None,
        to: Any = None,
        **options: Any,
    ) -> None:
        """Send the event; to put it into the recipient's queue is all there is to do, and waits for nothing."""
        room = to or room
        recipients = list(self.get_participants(namespace, room)) if isinstance(room, str) else []
        if len(recipients) != 1 or callback or skip_sid:
            await super().emit(event, data, namespace, room=room, skip_sid=skip_sid, callback=callback, **options)
            return
        _, connection = recipients[0]
        values = data if isinstance(data, tuple) else () if data is None else (data,)
        encoded = self.server.packet_class(EVENT, namespace=namespace, data=[event, *values]).encode()
        for frame in encoded if isinstance(encoded, list) else [encoded]:
            await self.server.eio.send(connection, frame)


def send_directly(server: socketio.AsyncServer) -> None:
    """Let the server send so. The manager may be chosen until somebody connects; later this changes nothing."""
    if not server.manager_initialized:
        server.manager = DirectManager()
        server.manager.set_server(server)
