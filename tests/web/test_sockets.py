"""Events over real sockets: single recipients get them directly, others through python-socketio."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import socketio  # type: ignore[import-untyped]

from tests.support.patience import PATIENCE_SECONDS
from tests.support.served import served
from threadkeeper.web.sockets import DirectManager, PacketQueue, send_directly


class Tab:
    """The browser's end of a socket, and the events it received."""

    def __init__(self) -> None:
        self.client = socketio.AsyncClient(reconnection=False)
        self.client.on("*", self._on_event)
        self.heard: list[tuple[Any, ...]] = []
        self._changed = asyncio.Event()

    async def _on_event(self, *event: Any) -> str:
        self.heard.append(event)
        self._changed.set()
        return "understood"

    async def until(self, event: tuple[Any, ...]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while event not in self.heard:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def serving(server: socketio.AsyncServer, count: int) -> AsyncIterator[list[Tab]]:
    """This many tabs on the server, in the order of `server.test_ids`."""
    tabs = [Tab() for _ in range(count)]
    async with served(socketio.ASGIApp(server)) as address:
        try:
            for tab in tabs:
                await tab.client.connect(address, transports=["websocket"])
            yield tabs
        finally:
            for tab in tabs:
                await tab.client.disconnect()
                await tab.client.shutdown()


@pytest.fixture
def server() -> socketio.AsyncServer:
    made = socketio.AsyncServer(async_mode="asgi")
    send_directly(made)
    assert isinstance(made.manager, DirectManager)
    return made


async def test_an_event_reaches_only_its_recipient(server: socketio.AsyncServer) -> None:
    async with serving(server, 2) as (first, second):
        sid = first.client.get_sid()
        await server.emit("token", {"text": "Grüße, 你好"}, to=sid)
        await server.emit("picture", {"bytes": b"\x00\xff"}, to=sid)
        await server.emit("two", ("a", 2), to=sid)
        await server.emit("nothing", to=sid)
        await first.until(("nothing",))
        assert first.heard == [
            ("token", {"text": "Grüße, 你好"}),
            ("picture", {"bytes": b"\x00\xff"}),
            ("two", "a", 2),
            ("nothing",),
        ]
        assert second.heard == []


async def test_rooms_and_callbacks_use_the_library(server: socketio.AsyncServer) -> None:
    async with serving(server, 2) as tabs:
        for tab in tabs:
            await server.enter_room(tab.client.get_sid(), "all")
        await server.emit("news", 1, to="all")
        await server.emit("others", 2, to="all", skip_sid=tabs[0].client.get_sid())
        await server.emit("everyone", 3)
        for tab in tabs:
            await tab.until(("everyone", 3))
        assert ("others", 2) not in tabs[0].heard
        assert ("others", 2) in tabs[1].heard
        assert await server.call("question", 4, to=tabs[0].client.get_sid(), timeout=PATIENCE_SECONDS) == "understood"


async def test_a_disconnected_recipient_causes_no_error(server: socketio.AsyncServer) -> None:
    async with serving(server, 1) as (tab,):
        sid = tab.client.get_sid()
        connection = server.manager.eio_sid_from_sid(sid, "/")
        # Closed, but the manager does not know it yet.
        server.eio.sockets[connection].closed = True
        await server.emit("late", 1, to=sid)
    await server.emit("later", 2, to=sid)
    assert tab.heard == []


async def test_the_manager_is_not_replaced_after_a_connection(server: socketio.AsyncServer) -> None:
    before = server.manager
    async with serving(server, 1):
        send_directly(server)
        assert server.manager is before


async def test_a_packet_reaches_who_waits_for_it_and_none_is_lost_with_a_waiter_that_gave_up() -> None:
    queue = PacketQueue()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.01)
    waiting = queue.get()
    for packet in ("first", "second", "third"):
        await queue.put(packet)
    assert [await waiting, await queue.get(), queue.get_nowait()] == ["first", "second", "third"]
    for _ in range(3):
        queue.task_done()
    await asyncio.wait_for(queue.join(), PATIENCE_SECONDS)


async def test_a_connected_socket_has_a_queue_whose_reader_needs_no_task(server: socketio.AsyncServer) -> None:
    async with serving(server, 1) as (tab,):
        await server.emit("nothing", to=tab.client.get_sid())
        await tab.until(("nothing",))
        (socket,) = server.eio.sockets.values()
        assert isinstance(socket.queue, PacketQueue)
    # A coroutine would be run in a task by `wait_for`.
    assert asyncio.isfuture(PacketQueue().get())
