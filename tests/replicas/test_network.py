"""One replica loses its connections to the database for a while; the other replica and the model are reached."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.chat_client import ChatClient
from tests.support.faulty_network import FaultyNetwork
from tests.support.model_server import ModelServer
from tests.support.patience import until
from tests.support.pgbouncer import through
from tests.support.shared_server import model_settings
from tests.support.topology import Topology, two_replicas

pytestmark = [pytest.mark.replicas, pytest.mark.slow]

PASSWORD = "a long password"
SLOW = "slow:100:0.05"
LAST = "word-100"
AWAY_SECONDS = 30.0


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
            at = {"ann": "replica2", "ben": "replica2", "eve": "replica1"}
            for name in at:
                await topology.replicas["replica1"].add_user(name, PASSWORD)
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
            await topology.until_ready("replica2", 503)
            await asking.until(lambda: told(asking), what="the notice of the failure")
            told_after = time.monotonic() - away
            await asking.until(
                lambda: any(name == "task_end" for name, _ in asking.events[seen:]), what="the end of the turn"
            )
            network.speak()
            back = time.monotonic()
            await topology.until_ready("replica2")
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


@pytest.mark.timeout(240)
async def test_the_pages_of_a_replica_without_network_for_half_a_minute_go_on_at_the_other(
    new_url: str, tmp_path: Path, model_server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the default time-outs, so this test waits for half a minute; others run beside it."""
    database, model = urlsplit(new_url).port or 0, urlsplit(model_server.root).port or 0
    async with FaultyNetwork(database) as to_database, FaultyNetwork(model) as to_model, AsyncExitStack() as opened:
        cut_off = {
            "DATABASE_URL": through(new_url, to_database.port),
            "OPENAI_BASE_URL": f"http://127.0.0.1:{to_model.port}/v1",
        }
        settings = model_settings(model_server) | {"OPENAI_MODELS": f"echo,{SLOW}"}
        topology = await opened.enter_async_context(
            two_replicas(tmp_path, new_url, settings, environments=({}, cut_off), with_networks=("replica2",))
        )
        networks = (topology.networks["replica2"], to_database, to_model)
        at = {"ann": "replica2", "ben": "replica2", "eve": "replica1"}
        for name in at:
            await topology.replicas["replica1"].add_user(name, PASSWORD)
        answering, idle, elsewhere = [
            await opened.enter_async_context(topology.page(name, PASSWORD, at=replica)) for name, replica in at.items()
        ]
        for client in (answering, idle, elsewhere):
            await client.ask("before", modes={"model": "echo"})
            await client.titled()
        await answering.send("Count", modes={"model": SLOW})
        await answering.until(lambda: "word-5 " in answering.answer, what="the begin of the answer")
        for network in networks:
            network.fall_silent()
        away = time.monotonic()
        assert "meanwhile" in await elsewhere.ask("meanwhile", modes={"model": "echo"})
        moved = [await moved_page(topology, client, opened) for client in (answering, idle)]
        moved_after = time.monotonic() - away
        for client in moved:
            assert topology.replica_of(client) == "replica1"
            assert "after" in await client.ask("after", modes={"model": "echo"})
        await asyncio.sleep(max(0.0, AWAY_SECONDS - (time.monotonic() - away)))
        for network in networks:
            network.speak()
        await topology.until_ready("replica2")
        # The replica goes on with the answer that it had begun, and stores its end before the question that came later.

        async def is_whole() -> bool:
            return LAST in [text.split()[-1] for _, text in await messages(moved[0])]

        await until(is_whole, what="the last word")
        for client, between in zip(moved, (["Count", LAST], []), strict=True):
            assert [text.split()[-1] for _, text in await messages(client)] == ["before"] * 2 + between + ["after"] * 2
        await topology.replicas["replica1"].add_user("joe", PASSWORD)
        new = await opened.enter_async_context(topology.page("joe", PASSWORD, at="replica2"))
        assert "again" in await new.ask("again", modes={"model": "echo"})
    assert "was not stored" not in topology.replicas["replica2"].log
    with capsys.disabled():
        print(f"pages were on the other replica {moved_after:.1f} s after theirs lost its network")


async def moved_page(topology: Topology, client: ChatClient, opened: AsyncExitStack) -> ChatClient:
    """The page, connected again when the proxy has ended its connection."""
    await client.until(lambda: not client.connected, what="the end of the connection")
    again = await topology.again(client)
    opened.push_async_callback(again.close)
    return again


def told(client: ChatClient) -> bool:
    """Whether the page shows that something could not be saved."""
    return any(step["isError"] for step in client.answers())


async def messages(client: ChatClient) -> list[tuple[str, str]]:
    """The type and text of each message of the thread, as stored."""
    steps = (await client.stored())["steps"]
    return [(step["type"], step["output"].strip()) for step in steps if step["type"].endswith("_message")]
