"""The application is killed, or its database becomes unavailable, during many chats."""

import asyncio
import functools
import itertools
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartServer
from tests.integration.test_restart import CUT, NAME, PASSWORD, SLOW, blocked_writes, is_disconnected, talk
from tests.support.chat_client import ChatClient
from tests.support.model_server import API_KEY, ModelServer
from tests.support.postgres import Cluster
from tests.support.server import AppServer
from threadkeeper.chat.wording import unmark_answer

pytestmark = pytest.mark.slow

CHATS = 20


async def test_sigkill_during_many_chats_loses_no_acknowledged_message(start_server: StartServer) -> None:
    server = await start_server(OPENAI_MODELS=f"echo,{SLOW}")
    clients = await clients_of(server, CHATS)
    try:
        await asyncio.gather(*(client.__aenter__() for client in clients))
        models = itertools.cycle(["echo", "echo", SLOW])
        talks = [asyncio.create_task(talk(client, model)) for client, model in zip(clients, models, strict=False)]
        await asyncio.gather(*(client.until(client.answers) for client in clients))
        await asyncio.gather(*(client.until(functools.partial(finished, client)) for client in clients[::3]))
        await server.kill()
        await asyncio.gather(*talks)
    finally:
        await asyncio.gather(*(client.close() for client in clients))

    await server.start()
    acknowledged = lost = partial = 0
    for number, client in enumerate(clients):
        assert client.thread_id is not None
        async with ChatClient(server.base_url, f"user-{number}", PASSWORD, thread_id=client.thread_id) as again:
            # Another process may have written the answers that were cut: they are marked when its claims have ended.
            await again.until(lambda again=again: not any(one["streaming"] for one in again.answers()))  # type: ignore[misc]
            shown = again.steps
            for answer in finished(client):
                acknowledged += 1
                lost += shown.get(answer["id"], {}).get("output") != answer["output"]
            order = [one for one in shown if one in client.steps]
            assert order == [one for one in client.steps if one in shown], "the order differs"
            for answer in again.answers():
                if answer["id"] not in [one["id"] for one in finished(client)] and CUT in answer["output"]:
                    partial += 1
                    seen = client.steps.get(answer["id"], answer)["output"]
                    kept = unmark_answer(answer["output"]).rstrip()
                    assert kept.startswith(seen.rstrip()) or seen.startswith(kept)
    print(f"{CHATS} chats: {acknowledged} answers acknowledged, lost {lost}; {partial} partial answers marked")
    assert acknowledged >= CHATS // 3
    assert lost == 0


async def test_the_next_start_stores_what_a_stop_could_not_store(start_server: StartServer) -> None:
    server = await start_server(OPENAI_MODELS="echo")
    await server.add_user(NAME, PASSWORD)
    async with ChatClient(server.base_url, NAME, PASSWORD) as client:
        await client.ask("The first question")
        async with blocked_writes(server):
            seen = len(client.events)
            await client.send("The last question")
            await client.event("task_start", seen=seen)
            assert await server.stop() == 0
            await client.until(lambda: is_disconnected(client))
    spool = spool_of(server)
    assert spool.exists()
    await server.start()
    assert not spool.exists()
    async with ChatClient(server.base_url, NAME, PASSWORD, thread_id=client.thread_id) as again:
        questions = [step["output"] for step in again.steps.values() if step["type"] == "user_message"]
    assert questions == ["The first question", "The last question"]


async def test_without_a_database_ready_fails_and_writes_are_spooled_for_the_next_start(
    stoppable_postgres: Cluster, stoppable_url: str, model_server: ModelServer, tmp_path: Path
) -> None:
    environment = {"OPENAI_API_KEY": API_KEY, "OPENAI_BASE_URL": model_server.base_url, "OPENAI_MODELS": "echo"}
    async with AppServer(tmp_path / "server", stoppable_url, environment, program=None) as server:
        clients = await clients_of(server, 10)
        await asyncio.gather(*(client.__aenter__() for client in clients))
        await asyncio.gather(*(client.ask("The first question") for client in clients))
        threads = [str(client.thread_id) for client in clients]

        await asyncio.to_thread(stoppable_postgres.halt)
        try:
            await until_ready_says(server, 503)
        finally:
            await asyncio.to_thread(stoppable_postgres.resume)
        await until_ready_says(server, 200)
        await asyncio.gather(*(client.ask("The second question") for client in clients))

        await asyncio.to_thread(stoppable_postgres.halt)
        try:
            for client in clients:
                client.events.clear()
                await client.send("The last question")
            await asyncio.gather(*(client.event("task_start") for client in clients))
            assert await server.stop() == 0
        finally:
            await asyncio.to_thread(stoppable_postgres.resume)
            await asyncio.gather(*(client.close() for client in clients))
            await asyncio.gather(*(client.close() for client in clients))
        lines = spool_of(server).read_text().splitlines()
        print(f"{len(lines)} writes in the spool file")
        assert len(lines) >= len(clients)
        await server.start()
        assert not spool_of(server).exists()
        async with server.layer() as layer:
            for thread_id in threads:
                thread: Any = await layer.get_thread(thread_id)
                asked = [step["output"] for step in thread["steps"] if step["type"] == "user_message"]
                assert asked == ["The first question", "The second question", "The last question"]


async def clients_of(server: AppServer, count: int) -> list[ChatClient]:
    """Add this many users. Returns a client for each, not yet connected."""
    for number in range(count):
        await server.add_user(f"user-{number}", PASSWORD)
    return [ChatClient(server.base_url, f"user-{number}", PASSWORD) for number in range(count)]


def finished(client: ChatClient) -> list[dict[str, Any]]:
    """The answers with a final state on the page. The server sends it once the answer is stored."""
    return [one for one in client.answers() if (one.get("metadata") or {}).get("status") == "complete"]


def spool_of(server: AppServer) -> Path:
    return server.directory / "data" / "spool.jsonl"


async def until_ready_says(server: AppServer, status: int) -> None:
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=server.base_url, trust_env=False, timeout=30) as page:
        while (await page.get("/ready")).status_code != status:
            await asyncio.sleep(0.1)
