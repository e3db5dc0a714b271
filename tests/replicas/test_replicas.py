"""Two replicas behind haproxy on one Postgres (`make test-replicas`)."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import missing
from tests.support.chat_client import ChatClient
from tests.support.model_server import ModelServer
from tests.support.patience import until
from tests.support.server import SERVE
from tests.support.shared_server import model_settings
from tests.support.topology import Topology, on_replica, two_replicas
from threadkeeper.chat.wording import unmark_answer

pytestmark = [pytest.mark.replicas, pytest.mark.slow]

PASSWORD = "a long password"
LIBFAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
)
SLOW = "slow:400:0.05"
PAGES = 20
STORED_EVERY_SECONDS = 2
SLACK_SECONDS = 3
"""How late a busy machine may store the text so far."""


@pytest.fixture
async def topology(new_url: str, tmp_path: Path, model_server: ModelServer) -> AsyncIterator[Topology]:
    settings = model_settings(model_server) | {"OPENAI_MODELS": f"echo,{SLOW}"}
    async with two_replicas(tmp_path, new_url, settings) as topology:
        yield topology


class Page:
    """A page whose answers are streamed; it remembers when it showed how much of the last one."""

    def __init__(self, client: ChatClient) -> None:
        self.client = client
        self._shown: list[tuple[float, str]] = []

    def look(self) -> None:
        # Until its answer begins, it shows the one before.
        if self.client.answer.startswith("word-"):
            self._shown.append((time.monotonic(), self.client.answer))

    def shown_at(self, moment: float) -> str:
        return next((text for then, text in reversed(self._shown) if then <= moment), "")


async def test_the_pages_of_a_killed_replica_are_on_the_other_with_their_threads(
    topology: Topology, capsys: pytest.CaptureFixture[str]
) -> None:
    first = next(iter(topology.replicas.values()))
    names = [f"user{number}" for number in range(PAGES)]
    for name in names:
        await first.add_user(name, PASSWORD)
    clients = [topology.client(name, PASSWORD) for name in names]
    pages = [Page(client) for client in clients]
    try:
        await asyncio.gather(*(client.__aenter__() for client in clients))
        killed = topology.replica_of(clients[0])
        of_killed = [page for page in pages if topology.replica_of(page.client) == killed]
        others = [page for page in pages if page not in of_killed]
        assert len(of_killed) >= PAGES // 4
        assert len(others) >= PAGES // 4
        # Acknowledged: the whole answer was shown.
        await asyncio.gather(*(client.ask("before", modes={"model": "echo"}) for client in clients))
        await asyncio.gather(*(client.send("Count", modes={"model": SLOW}) for client in clients))

        def is_under_way() -> bool:
            for page in pages:
                page.look()
            stored = time.monotonic() - STORED_EVERY_SECONDS - SLACK_SECONDS
            return all("word-20 " in page.shown_at(stored) for page in pages)

        await until(is_under_way)
        died = time.monotonic()
        await topology.replicas[killed].kill()
        for page in of_killed:
            await page.client.until(lambda page=page: not page.client.connected)  # type: ignore[misc]
        resumed = await asyncio.gather(*(topology.again(page.client, PASSWORD) for page in of_killed))
        took = time.monotonic() - died
        lost = []
        for page, again in zip(of_killed, resumed, strict=True):
            assert topology.replica_of(again) != killed
            steps = (await again.stored())["steps"]
            messages = [step for step in steps if step["type"] in ("user_message", "assistant_message")]
            question, answer, second, partial = messages
            assert (question["output"], second["output"]) == ("before", "Count")
            assert "before" in answer["output"]
            stored = unmark_answer(partial["output"]).rstrip()
            shown = page.shown_at(died - STORED_EVERY_SECONDS - SLACK_SECONDS).rstrip()
            assert shown
            assert stored.startswith(shown)
            lost.append(len(page.shown_at(died).split()) - len(stored.split()))
        # The claim of the dead replica on a thread does not hold up the next question.
        asked = time.monotonic()
        answers = await asyncio.gather(*(again.ask("after", modes={"model": "echo"}) for again in resumed))
        answered = time.monotonic() - asked
        assert all("after" in answer for answer in answers)
        # The other replica's answers went on.
        for page in others:
            await page.client.until(lambda page=page: "word-400" in page.client.answer)  # type: ignore[misc]
        with capsys.disabled():
            print(
                f"{len(of_killed)} of {PAGES} pages were on the other replica after {took:.1f} s. Of the answers in "
                f"progress, {max(lost)} words at most ({max(lost) * 0.05:.1f} s) were not stored. The next answers "
                f"took {answered:.1f} s."
            )
        await asyncio.gather(*(again.close() for again in resumed))
    finally:
        await asyncio.gather(*(client.close() for client in clients), return_exceptions=True)


async def test_both_replicas_migrate_once_and_one_that_is_stopped_hands_its_pages_over_and_comes_back(
    topology: Topology,
) -> None:
    line = "the database was migrated: build_schema"
    assert sum(server.log.count(line) for server in topology.replicas.values()) == 1
    first = next(iter(topology.replicas.values()))
    await first.add_user("ann", PASSWORD)
    async with topology.client("ann", PASSWORD) as client:
        stopped = topology.replica_of(client)
        await client.ask("before", modes={"model": "echo"})
        assert await topology.replicas[stopped].stop() == 0
        await client.until(lambda: not client.connected)
        again = await topology.again(client, PASSWORD)
    try:
        assert topology.replica_of(again) != stopped
        assert "before" in again.answer
        assert "after" in await again.ask("after", modes={"model": "echo"})
        await topology.replicas[stopped].start()
        # The page stays where it is.
        assert "again" in await again.ask("again", modes={"model": "echo"})
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
    async with two_replicas(tmp_path, new_url, settings, programs=(None, SERVE), environments=({}, ahead)) as topology:
        first = topology.replicas["replica1"]
        await first.add_user("ann", PASSWORD)
        client = await on_replica(topology, "replica2", "ann", PASSWORD)
        asked = ["on two"]
        await client.ask(asked[-1])
        for words in ("on one", "on two again"):
            # As an operator who takes a replica out for a moment: the page goes to the other one.
            left = topology.replicas[topology.replica_of(client)]
            await left.stop()
            again = await topology.again(client, PASSWORD)
            await client.close()
            client = again
            asked.append(words)
            await client.ask(words)
            await left.start()
        messages = [step["output"] for step in (await client.stored())["steps"] if step["type"] == "user_message"]
        assert messages == asked
        answers = [step["output"] for step in (await client.stored())["steps"] if step["type"] == "assistant_message"]
        assert answers == [f"You said: {words}" for words in asked]
        await client.close()
