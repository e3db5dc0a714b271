"""Sends a Socket.IO event to a single recipient without a task, and with its texts as the page must get them.

python-socketio's manager creates a task per recipient and waits for all of them, and Engine.IO's writer creates one for
each packet. In a chat, an event has one recipient and an answer has many events: tasks and waiting took an eighth of
the time of an answer (docs/adr/0009).
"""

import asyncio
import json
from typing import Any

import socketio  # type: ignore[import-untyped]
from socketio.packet import EVENT  # type: ignore[import-untyped]

from threadkeeper.web.page_texts import texts_for_page

_STREAMED = "stream_token"
_to_json = json.JSONEncoder(separators=(",", ":")).encode


class DirectManager(socketio.AsyncManager):  # type: ignore[misc]
    """A manager that sends events with one recipient directly; all other events take the library's way."""

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
        """Send the event: it only has to be put into the recipient's queue."""
        room, data = to or room, texts_for_page(event, data)
        recipients = list(self.get_participants(namespace, room)) if isinstance(room, str) else []
        if len(recipients) != 1 or callback or skip_sid:
            await super().emit(event, data, namespace, room=room, skip_sid=skip_sid, callback=callback, **options)
            return
        _, connection = recipients[0]
        values = data if isinstance(data, tuple) else () if data is None else (data,)
        if event == _STREAMED and namespace == "/":
            # Most events are tokens, which have no bytes to look for.
            await self.server.eio.send(connection, f"{EVENT}{_to_json([event, *values])}")
            return
        encoded = self.server.packet_class(EVENT, namespace=namespace, data=[event, *values]).encode()
        for frame in encoded if isinstance(encoded, list) else [encoded]:
            await self.server.eio.send(connection, frame)


class PacketQueue(asyncio.Queue[Any]):
    """The queue of packets of one socket. `get` gives a future.

    Engine.IO's writer waits with `asyncio.wait_for`, which creates a task for a coroutine, but not for a future.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting: asyncio.Future[Any] | None = None

    def get(self) -> asyncio.Future[Any]:  # type: ignore[override]
        waiting = asyncio.get_running_loop().create_future()
        if self.empty():
            self._waiting = waiting
        else:
            waiting.set_result(self.get_nowait())
        return waiting

    def put_nowait(self, item: Any) -> None:
        super().put_nowait(item)
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(self.get_nowait())


def send_directly(server: socketio.AsyncServer) -> None:
    """Use `DirectManager` and `PacketQueue`. Has no effect after the first connection, when the manager is fixed."""
    if not server.manager_initialized:
        server.manager = DirectManager()
        server.manager.set_server(server)
        server.eio.create_queue = PacketQueue
