"""Two replicas behind haproxy on one Postgres (`make test-replicas`)."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support import missing
from tests.support.model_server import ModelServer
from tests.support.server import SERVE
from tests.support.shared_server import model_settings
from tests.support.topology import Topology, two_replicas

pytestmark = [pytest.mark.replicas, pytest.mark.slow]

PASSWORD = "a long password"
LIBFAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
)


@pytest.fixture
async def topology(new_url: str, tmp_path: Path, model_server: ModelServer) -> AsyncIterator[Topology]:
    settings = model_settings(model_server) | {"OPENAI_MODELS": "echo"}
    async with two_replicas(tmp_path, new_url, settings) as topology:
        yield topology


async def test_both_replicas_migrate_once_and_one_that_is_stopped_hands_its_pages_over_and_comes_back(
    topology: Topology,
) -> None:
    line = "the database was migrated: build_schema"
    assert sum(server.log.count(line) for server in topology.replicas.values()) == 1
    stopped, other = topology.replicas
    await topology.replicas[other].add_user("ann", PASSWORD)
    async with topology.page("ann", PASSWORD, at=stopped) as client:
        await client.ask("before", modes={"model": "echo"})
        assert await topology.replicas[stopped].stop() == 0
        await client.until(lambda: not client.connected, what="the end of the connection")
        again = await topology.again(client)
    try:
        assert topology.replica_of(again) == other
        assert "before" in again.answer
        assert "after" in await again.ask("after", modes={"model": "echo"})
        await topology.replicas[stopped].start()
        # The page stays where it is.
        assert "again" in await again.ask("again", modes={"model": "echo"})
        assert topology.replica_of(again) == other
    finally:
        await again.close()


async def test_a_page_goes_on_at_a_replica_whose_clock_is_five_minutes_apart(
    new_url: str, tmp_path: Path, model_server: ModelServer
) -> None:
    library = next((path for path in map(Path, LIBFAKETIME) if path.exists()), None)
    if library is None:
        missing.skip_or_fail("FAKETIME: the test of different clocks was skipped; install the package libfaketime")
    settings = model_settings(model_server) | {"OPENAI_MODELS": "echo"}
    ahead = {"LD_PRELOAD": str(library), "FAKETIME": "+300s"}
    async with (
        two_replicas(tmp_path, new_url, settings, programs=(None, SERVE), environments=({}, ahead)) as topology,
        AsyncExitStack() as opened,
    ):
        # The hash that the process ahead would compute itself: it stores none anew, which would end other logins.
        await topology.replicas["replica2"].add_user("ann", PASSWORD)
        client = await opened.enter_async_context(topology.page("ann", PASSWORD, at="replica2"))
        asked = ["on two"]
        await client.ask(asked[-1])
        for words in ("on one", "on two again"):
            # As an operator who takes a replica out for a moment: the page goes to the other one.
            before = topology.replica_of(client)
            await topology.replicas[before].stop()
            await client.until(lambda client=client: not client.connected, what="the end of the connection")  # type: ignore[misc]
            client = await topology.again(client)
            opened.push_async_callback(client.close)
            assert topology.replica_of(client) == topology.other_than(before)
            asked.append(words)
            await client.ask(words)
            await topology.replicas[before].start()
        messages = [step["output"] for step in (await client.stored())["steps"] if step["type"] == "user_message"]
        assert messages == asked
        answers = [step["output"] for step in (await client.stored())["steps"] if step["type"] == "assistant_message"]
        assert answers == [f"You said: {words}" for words in asked]
