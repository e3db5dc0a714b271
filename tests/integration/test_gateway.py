"""The gateway in a server of its own: calls in flight when it is killed or stopped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from datalayer import CallFilter, Project, Provider
from datalayer.cleaning import utc_in
from datalayer.records.usage import IN_PROGRESS, INTERRUPTED, STOPPED, LlmCall
from tests.conftest import StartServer
from tests.support.model_server import ModelServer
from tests.support.patience import until
from tests.support.records import new_id
from tests.support.server import AppServer

pytestmark = pytest.mark.slow

KEY = "sk-of-the-lab-0123456789"


async def prepared(server: AppServer, model_server: ModelServer) -> str:
    """A project with a provider, and the secret of a key for it."""
    await server.add_user("uma", "correct horse battery")
    async with server.layer() as layer:
        provider = Provider("OpenAI", "openai", model_server.base_url, secret="LAB_KEY")
        await layer.put_project(Project(new_id(), "The lab", "lab", providers=(provider,)))
        return (await layer.create_api_key("tests", ["gateway"], user="uma", project="lab"))[1]


@asynccontextmanager
async def streaming(server: AppServer, secret: str) -> AsyncIterator[asyncio.Task[str]]:
    """A long answer whose first words have come."""
    begun = asyncio.Event()

    async def ask() -> str:
        async with openai.AsyncOpenAI(
            api_key=secret,
            base_url=f"{server.base_url}/gateway/lab/openai",
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
        ) as client:
            asked: Any = {"model": "slow:2000:0.01", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
            stream: Any = await client.chat.completions.create(**asked)
            try:
                async for _ in stream:
                    begun.set()
            except (openai.APIError, httpx.HTTPError) as error:
                return type(error).__name__
            return ""

    asking = asyncio.create_task(ask())
    await asyncio.wait_for(begun.wait(), 60)
    try:
        yield asking
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def only_call(server: AppServer) -> LlmCall | None:
    async with server.layer() as layer:
        rows = (await layer.list_calls(CallFilter())).rows
        return rows[0].call if rows else None


async def test_a_call_in_flight_at_a_kill_is_marked_by_the_next_start(
    start_server: StartServer, model_server: ModelServer
) -> None:
    server = await start_server(LAB_KEY=KEY)
    secret = await prepared(server, model_server)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        asked = {"model": "hang", "messages": [{"role": "user", "content": "Hello"}]}
        headers = {"Authorization": f"Bearer {secret}"}
        url = f"{server.base_url}/gateway/lab/openai/chat/completions"
        asking = asyncio.create_task(client.post(url, json=asked, headers=headers))

        async def is_asked() -> bool:
            return bool(model_server.requests)

        await until(is_asked)
        # At once: the row is there before the provider is asked.
        await server.kill()
        with pytest.raises(httpx.HTTPError):
            await asking
    call = await only_call(server)
    assert call is not None
    assert call.finish_reason == IN_PROGRESS
    async with server.layer() as layer:
        # As if the seconds had passed after which a server that was killed does not count.
        await layer.begin_call(replace(call, requested_at=utc_in(-60)))
    await server.start()

    async def is_marked() -> bool:
        marked = await only_call(server)
        return marked is not None and marked.error_kind == INTERRUPTED

    await until(is_marked)


async def test_a_call_in_flight_at_the_end_of_the_server_is_recorded(
    start_server: StartServer, model_server: ModelServer
) -> None:
    server = await start_server(LAB_KEY=KEY)
    secret = await prepared(server, model_server)
    async with streaming(server, secret):
        assert await server.stop() == 0
    call = await only_call(server)
    assert call is not None
    assert (call.finish_reason, call.status_code) == (STOPPED, 200)
    assert KEY not in server.log
    assert secret not in server.log
