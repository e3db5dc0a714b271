"""Tokens gather between two looks at the stream, and none is lost with the connection."""

from __future__ import annotations

import asyncio
import json
import ssl
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
    model = create_model(base_url=base_url, timeout_seconds=5, max_retries=0)
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
    async with asyncio.timeout(3):
        assert "".join(await read(model_server.base_url, asking("say:short", 30))) == "short"


async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send 150 tokens of 400 bytes within 0.15 s, and close in the middle of the answer."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for number in range(1, 151):
        chunk = {"choices": [{"index": 0, "delta": {"content": f"word-{number} "}}], "padding": "x" * 300}
        event = f"data: {json.dumps(chunk)}\n\n".encode()
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        await asyncio.sleep(0.001)
    writer.close()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    ("gather_seconds", "busy_seconds"), [(0, 0.4), (0.1, 0), (0.4, 0), (0.1, 0.4)], ids=["busy", "some", "all", "both"]
)
async def test_a_broken_connection_loses_nothing_that_came_while_the_reader_was_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gather_seconds: float, busy_seconds: float, tls: bool
) -> None:
    context = None
    if tls:
        certificate = self_signed(tmp_path)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with await asyncio.start_server(break_off, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        pieces = await read(
            f"http{'s' if tls else ''}://127.0.0.1:{port}/v1", asking("any", gather_seconds), busy_seconds
        )
    assert "".join(pieces) == words(150)
