"""Tokens gather between two looks at the stream, and none is lost with the connection."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.certificate import self_signed
from tests.support.model_server import ModelServer
from threadkeeper.chat.model import Delta, ModelError, ModelRequest
from threadkeeper.chat.providers import create_model


def asking(name: str, gather_seconds: float) -> ModelRequest:
    return ModelRequest([{"role": "user", "content": "Hello there"}], name, gather_seconds=gather_seconds)


def words(count: int) -> str:
    return "".join(f"word-{number} " for number in range(1, count + 1))


async def read(base_url: str, request: ModelRequest, busy_seconds: float = 0) -> list[str]:
    """The pieces of text, as they are read by somebody who is busy with each; the answer may break off."""
    model = create_model(base_url=base_url, timeout_seconds=60, max_retries=0)
    pieces: list[str] = []
    try:
        async for event in model.stream(request):
            pieces += [event.text] if isinstance(event, Delta) else []
            await asyncio.sleep(busy_seconds)
    except ModelError as error:
        assert error.kind == "cut"
    finally:
        await model.close()
    return pieces


async def test_the_first_token_is_read_at_once_and_the_others_together(model_server: ModelServer) -> None:
    pieces = await read(model_server.base_url, asking("slow:60:0.005", 0.05))
    assert pieces[0] == "word-1 "
    assert "".join(pieces) == words(60)
    # 0.3 s of tokens. Without the pause of the socket there are about sixty pieces.
    assert len(pieces) <= 20


@pytest.mark.parametrize("count", [1, 5, 400])
async def test_a_broken_connection_loses_no_token_that_was_sent(model_server: ModelServer, count: int) -> None:
    assert "".join(await read(model_server.base_url, asking(f"cut:{count}", 0.2))) == words(count)


async def test_an_answer_that_has_arrived_is_not_waited_for(model_server: ModelServer) -> None:
    async with asyncio.timeout(60):
        assert "".join(await read(model_server.base_url, asking("say:short", 300))) == "short"


class BrokenServer:
    """Sends `count` tokens of 400 bytes, every `a_millisecond` of them within one, and breaks off the connection."""

    def __init__(self, count: int, a_millisecond: int, *, resets: bool = False) -> None:
        self._count, self._a_millisecond, self._resets = count, a_millisecond, resets

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(1, self._count + 1):
            chunk = {"choices": [{"index": 0, "delta": {"content": f"word-{number} "}}], "padding": "x" * 300}
            event = f"data: {json.dumps(chunk)}\n\n".encode()
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            if number % self._a_millisecond == 0:
                await asyncio.sleep(0.001)
        if self._resets:
            # Until all of it has left this side: what has not is lost for everybody.
            await asyncio.sleep(0.1)
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        else:
            writer.close()


@asynccontextmanager
async def served(
    broken: BrokenServer, tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """The address of the server while it runs."""
    context = None
    if tls:
        certificate = self_signed(tmp_path)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with await asyncio.start_server(broken.answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http{'s' if tls else ''}://127.0.0.1:{port}/v1"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    ("gather_seconds", "busy_seconds"), [(0, 0.4), (0.1, 0), (0.4, 0), (0.1, 0.4)], ids=["busy", "some", "all", "both"]
)
async def test_a_broken_connection_loses_nothing_that_came_while_the_reader_was_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gather_seconds: float, busy_seconds: float, tls: bool
) -> None:
    async with served(BrokenServer(150, 1), tls, tmp_path, monkeypatch) as url:
        pieces = await read(url, asking("any", gather_seconds), busy_seconds)
    assert "".join(pieces) == words(150)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("resets", [False, True], ids=["closed", "reset"])
async def test_a_broken_connection_loses_nothing_of_a_server_that_is_faster_than_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resets: bool, tls: bool
) -> None:
    """1.2 MB wait for the reader, which is more than aiohttp takes by itself."""
    async with served(BrokenServer(3_000, 100, resets=resets), tls, tmp_path, monkeypatch) as url:
        pieces = await read(url, asking("any", 0), busy_seconds=0.6)
    assert "".join(pieces) == words(3_000)


async def test_a_pause_leaves_a_socket_alone_that_the_client_itself_has_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threadkeeper.chat.providers.gathering._UNREAD_BYTES", 1)
    async with served(BrokenServer(3_000, 100), False, tmp_path, monkeypatch) as url, asyncio.timeout(20):
        pieces = await read(url, asking("any", 0.3), busy_seconds=0.3)
    assert "".join(pieces) == words(3_000)


async def test_what_waits_is_read_in_one_piece(model_server: ModelServer) -> None:
    """With a pause after every 16 kB, a server that sends more than 400 kB a second would be slowed down."""
    pieces = await read(model_server.base_url, asking("slow:4000:0", 0.001), busy_seconds=0.5)
    assert "".join(pieces) == words(4_000)
    assert len(pieces) <= 12
