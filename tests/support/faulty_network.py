"""A proxy between a client and a server that simulates network faults."""

import asyncio
import re
from contextlib import suppress
from types import TracebackType
from typing import Self

_PIECE = 64 * 1024


class FaultyNetwork:
    """Listens on its own port and forwards everything to another port, until a fault is requested."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent = asyncio.Event()
        self._left: int | None = None
        self._lost: re.Pattern[bytes] | None = None
        self.port = 0
        self.cuts = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.go_down()

    async def go_down(self) -> None:
        """Close the current connections and refuse new ones."""
        self._server.close()
        self._cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def come_up(self) -> None:
        """Accept connections again, on the same port."""
        self._left = None
        self._silent.clear()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def point_at(self, port: int) -> None:
        """Forward new connections to another port, and close the current ones."""
        self._target = port
        self._cut()

    def fall_silent(self) -> None:
        """Keep the connections, but forward nothing in either direction."""
        self._silent.set()

    def speak(self) -> None:
        """Forward again, also what has gathered meanwhile."""
        self._silent.clear()

    def lose_the_answer_to(self, request: bytes) -> None:
        """Forward the next request that matches the pattern, and close its connection at the response."""
        self._lost = re.compile(request)

    def cut_after(self, sent_bytes: int) -> None:
        """After this many more bytes to the server, close all connections, and later ones immediately."""
        self._left = sent_bytes

    def _cut(self) -> None:
        for writer in self._connections:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections.add(writer)
        onward: asyncio.StreamWriter | None = None
        try:
            back, onward = await asyncio.open_connection("127.0.0.1", self._target)
            self._connections.add(onward)
            unanswered = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, onward, unanswered, to_server=True))
                group.create_task(self._pass_on(back, writer, unanswered, to_server=False))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, onward):
                if end is not None:
                    self._connections.discard(end)
                    end.transport.abort()
            self._tasks.discard(task)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, unanswered: asyncio.Event, *, to_server: bool
    ) -> None:
        while piece := await reader.read(_PIECE):
            while self._silent.is_set():
                await asyncio.sleep(0.05)
            if to_server and self._lost and self._lost.search(piece):
                self._lost = None
                unanswered.set()
            elif not to_server and unanswered.is_set():
                self.cuts += 1
                self._cut()
                return
            if to_server and self._left is not None:
                self._left -= len(piece)
                if self._left < 0:
                    self.cuts += 1
                    self._cut()
                    return
            writer.write(piece)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()
