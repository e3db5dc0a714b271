"""Tokens gather in the socket between two looks at the stream, and none is lost with the connection."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.model_server import ModelServer
from threadkeeper.chat.model import Delta, ModelError, ModelRequest
from threadkeeper.chat.providers import create_model


def asking(name: str, gather_seconds: float) -> ModelRequest:
    return ModelRequest([{"role": "user", "content": "Hello there"}], name, gather_seconds=gather_seconds)


def words(count: int) -> str:
    return "".join(f"word-{number} " for number in range(1, count + 1))


async def read(model_server: ModelServer, request: ModelRequest) -> list[str]:
    """The pieces of text, as they are read; the answer may break off."""
    model = create_model(base_url=model_server.base_url, timeout_seconds=5, max_retries=0)
    pieces: list[str] = []
    try:
        async for event in model.stream(request):
            pieces += [event.text] if isinstance(event, Delta) else []
    except ModelError as error:
        assert error.kind == "cut"
    finally:
        await model.close()
    return pieces


async def test_the_first_token_is_read_at_once_and_the_others_together(model_server: ModelServer) -> None:
    pieces = await read(model_server, asking("slow:60:0.005", 0.05))
    assert pieces[0] == "word-1 "
    assert "".join(pieces) == words(60)
    # 0.3 s of tokens. Without the pause of the socket there are about sixty pieces.
    assert len(pieces) <= 20


@pytest.mark.parametrize("count", [1, 5, 400])
async def test_a_broken_connection_loses_no_token_that_was_sent(model_server: ModelServer, count: int) -> None:
    assert "".join(await read(model_server, asking(f"cut:{count}", 0.2))) == words(count)


async def test_an_answer_that_has_arrived_is_not_waited_for(model_server: ModelServer) -> None:
    async with asyncio.timeout(3):
        assert "".join(await read(model_server, asking("say:short", 30))) == "short"
