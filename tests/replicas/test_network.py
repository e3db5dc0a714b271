"""One replica loses its connections to the database for a while; the other replica and the model are reached."""

import time
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.chat_client import ChatClient
from tests.support.faulty_network import FaultyNetwork
from tests.support.model_server import ModelServer
from tests.support.patience import until
from tests.support.pgbouncer import through
from tests.support.plain_http import PLAIN_HTTP
from tests.support.server import AppServer
from tests.support.shared_server import model_settings
from tests.support.topology import two_replicas

pytestmark = [pytest.mark.replicas, pytest.mark.slow]

PASSWORD = "a long password"
SLOW = "slow:100:0.05"
LAST = "word-100"


async def test_a_replica_that_does_not_reach_the_database_tells_it_loses_nothing_and_comes_back(
    new_url: str, tmp_path: Path, model_server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    port = urlsplit(new_url).port
    assert port is not None
    async with FaultyNetwork(port) as network:
        # Nothing arrives and nothing is refused, so that each statement waits for its time-out.
        cut_url = f"{through(new_url, network.port)}?command_timeout=4&timeout=4"
        settings = model_settings(model_server) | {"OPENAI_MODELS": f"echo,{SLOW}"}
        environments: tuple[dict[str, str], ...] = ({}, {"DATABASE_URL": cut_url})
        async with (
            two_replicas(tmp_path, new_url, settings, environments=environments) as topology,
            AsyncExitStack() as opened,
        ):
            whole, cut = topology.replicas.values()
            at = {"ann": "replica2", "ben": "replica2", "eve": "replica1"}
            for name in at:
                await whole.add_user(name, PASSWORD)
            answering, asking, elsewhere = [
                await opened.enter_async_context(topology.page(name, PASSWORD, at=replica))
                for name, replica in at.items()
            ]
            for client in (answering, asking, elsewhere):
                await client.ask("before", modes={"model": "echo"})
            await answering.send("Count", modes={"model": SLOW})
            await answering.until(lambda: "word-5 " in answering.answer, what="the begin of the answer")
            network.fall_silent()
            away = time.monotonic()
            seen = len(asking.events)
            await asking.send("while it is away", modes={"model": "echo"})
            assert "meanwhile" in await elsewhere.ask("meanwhile", modes={"model": "echo"})
            await until(lambda: says(cut, 503), what="503 from /ready")
            await asking.until(lambda: told(asking), what="the notice of the failure")
            told_after = time.monotonic() - away
            await asking.until(
                lambda: any(name == "task_end" for name, _ in asking.events[seen:]), what="the end of the turn"
            )
            network.speak()
            back = time.monotonic()
            await until(lambda: says(cut, 200), what="200 from /ready")
            # The page went on all the time, and the end of the answer waited.
            await answering.until(
                lambda: "status" in (answering.answers()[-1].get("metadata") or {}), what="the end of the answer"
            )
            assert "again" in await asking.ask("again", modes={"model": "echo"})
            whole_after = time.monotonic() - back
            assert [text for kind, text in await messages(asking) if kind == "user_message"] == [
                "before",
                "while it is away",
                "again",
            ]
            assert [text.split()[-1] for _, text in await messages(answering)] == ["before", "before", "Count", LAST]
    with capsys.disabled():
        print(f"told after {told_after:.1f} s; {whole_after:.1f} s after its network came back, all was stored")


def told(client: ChatClient) -> bool:
    """Whether the page shows that something could not be saved."""
    return any(step["isError"] for step in client.answers())


async def messages(client: ChatClient) -> list[tuple[str, str]]:
    """The type and text of each message of the thread, as stored."""
    steps = (await client.stored())["steps"]
    return [(step["type"], step["output"].strip()) for step in steps if step["type"].endswith("_message")]


async def says(server: AppServer, status: int) -> bool:
    async with httpx.AsyncClient(base_url=server.base_url, **PLAIN_HTTP, timeout=30) as page:
        return (await page.get("/ready")).status_code == status
