"""`python -m benchmarks.dynamodb`: our data layer on DynamoDB beside Chainlit's own, on one server of moto.

The server is as far away as the service is: a relay adds 20 ms to each round trip. Requests and read items are counted
where boto sends and parses them, so they hold for the service too. `TEST_DYNAMODB_URL` names another server.
"""

import argparse
import asyncio
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from chainlit.context import init_http_context
from chainlit.data.dynamodb import DynamoDBDataLayer
from chainlit.types import Feedback, Pagination, ThreadFilter
from chainlit.user import User

from benchmarks.chat_report import put_section
from datalayer import create_data_layer
from datalayer.dynamodb import keys, tables
from datalayer.dynamodb.client import place_of
from tests.support.dynamodb_server import REGION, dynamodb_server
from tests.support.loop_thread import LoopThread
from tests.support.records import new_id, step

TITLE = "## DynamoDB"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
OURS, THEIRS = "ours", "Chainlit's own"
ROUNDS = 10
SIZES = (20, 200, 2_000)
_TEXT = "word " * 400
_PAUSE_SECONDS = 0.02
DELAY_SECONDS = 0.02
# Each answer fits, so that it is delayed once.
_CHUNK_BYTES = 1 << 20


class Distance:
    """A relay to a server on loopback, which adds half of the delay in each direction, to each chunk."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._relays: set[asyncio.Task[None]] = set()

    async def serve(self) -> int:
        """Serve from now on; gives the port."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        back, onward = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(_pass_on(reader, onward), _pass_on(back, writer))

    async def close(self) -> None:
        """End all connections."""
        self._server.close()
        for task in self._relays:
            task.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        await asyncio.sleep(DELAY_SECONDS / 2)
        writer.write(chunk)
    writer.close()


class Contender:
    """One layer, with its requests and read items counted."""

    def __init__(self, layer: Any, user: str) -> None:
        self.layer, self.user = layer, user
        self.thread_id, self.step_id = new_id(), new_id()
        self.others = [new_id() for _ in range(10)]
        self.requests = self.items = 0

    def count(self, client: Any) -> None:
        client.meta.events.register("before-send.dynamodb", self._sent)
        client.meta.events.register("after-call.dynamodb", self._read)

    def _sent(self, **_: Any) -> None:
        self.requests += 1

    def _read(self, parsed: dict[str, Any], **_: Any) -> None:
        self.items += parsed.get("ScannedCount", 0) + sum(map(len, parsed.get("Responses", {}).values()))
        self.items += "Item" in parsed

    async def prepare(self) -> None:
        init_http_context(thread_id=self.thread_id)
        await self.layer.create_user(User(identifier=self.user))
        await self.layer.update_thread(self.thread_id, name="a thread", user_id=self.user)
        for one in self.others:
            await self.layer.update_thread(one, name="a thread", user_id=self.user)
        await self.layer.create_step(step(self.thread_id, _TEXT) | {"id": self.step_id, "createdAt": _now()})

    async def turn(self) -> None:
        """The calls of a question and its answer, as Chainlit makes them: in tasks, some of them at once."""
        thread_id, layer = new_id(), self.layer
        asked, run, answer = (step(thread_id, _TEXT, createdAt=_now()) for _ in range(3))
        begun = [layer.create_step(asked), layer.update_thread(thread_id, name="a", user_id=self.user)]
        for calls in (
            [*begun, layer.create_step(run)],
            [layer.create_step(answer)],
            [layer.update_step(answer), layer.update_step(run)],
        ):
            await asyncio.gather(*map(asyncio.create_task, calls))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def several(self) -> None:
        """Steps of ten threads at once, as of ten users."""
        await asyncio.gather(*(self.layer.create_step(step(one, _TEXT, createdAt=_now())) for one in self.others))

    async def create_step(self) -> None:
        await self.layer.create_step(step(self.thread_id, _TEXT, createdAt=_now()))

    async def update_thread(self) -> None:
        await self.layer.update_thread(self.thread_id, metadata={"key": new_id()})

    async def vote(self) -> None:
        await self.layer.upsert_feedback(Feedback(forId=self.step_id, threadId=self.thread_id, value=1))

    async def list_threads(self) -> None:
        await self.layer.list_threads(Pagination(first=20), ThreadFilter(userId=self.user))

    async def get_thread(self) -> None:
        await self.layer.get_thread(self.thread_id)


CALLS: dict[str, Callable[[Contender], Awaitable[None]]] = {
    "a chat turn of 6 calls": Contender.turn,
    "create_step, 2 kB": Contender.create_step,
    "the same for 10 threads at once": Contender.several,
    "update_thread(metadata)": Contender.update_thread,
    "upsert_feedback": Contender.vote,
    "list_threads": Contender.list_threads,
    "get_thread, about 150 steps": Contender.get_thread,
}


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


async def longest_pause(work: Awaitable[None]) -> float:
    """For how many seconds the event loop did nothing else while the work was under way, at most."""
    longest, ended = 0.0, asyncio.Event()

    async def tick() -> None:
        nonlocal longest
        while not ended.is_set():
            began = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - began)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await work
    ended.set()
    await ticking
    return longest


async def measured(contenders: dict[str, Contender]) -> list[str]:
    """The rows of the table of calls."""
    rows = []
    for what, call in CALLS.items():
        cells = []
        for one in contenders.values():
            times = []
            one.requests = 0
            for _ in range(ROUNDS):
                began = time.perf_counter()
                await call(one)
                times.append((time.perf_counter() - began) * 1000)
            pauses = [1000 * await longest_pause(call(one)) for _ in range(5)]
            requests = one.requests / (ROUNDS + len(pauses))
            cells += [f"{requests:.1f}", f"{statistics.median(times):.1f}", f"{statistics.median(pauses):.1f}"]
        rows.append(f"| {what} | {' | '.join(cells)} |")
    return rows


async def read_per_page(contenders: dict[str, Contender], clients: dict[str, Any]) -> list[str]:
    """The rows of the table of read items."""
    rows = []
    for size in SIZES:
        cells = []
        for name, one in contenders.items():
            _fill(clients[name], one, size)
            one.items = 0
            await one.list_threads()
            cells.append(str(one.items))
        rows.append(f"| {size:,} | {' | '.join(cells)} |")
    return rows


def _fill(table: Any, one: Contender, size: int) -> None:
    """Let the user have as many threads, of long ago."""
    with table.batch_writer() as batch:
        for number in range(size):
            moment = f"2020-01-01T00:00:00.{number:06}Z"
            thread_id = f"00000000-0000-4000-8000-{number:012}"
            key = {
                "PK": keys.partition(thread_id),
                "SK": keys.THREAD,
                "id": thread_id,
                "name": "old",
                "createdAt": moment,
            }
            place = {"UserThreadPK": keys.of_user(one.user), "UserThreadSK": f"TS#{moment}"}
            batch.put_item(Item={**key, **place, "createdAt": moment, "userId": one.user, "userIdentifier": one.user})


async def run(options: str) -> list[str]:
    place = place_of(f"dynamodb://ours?{options}")
    where = {"region_name": place.region, "endpoint_url": place.endpoint_url}
    client = boto3.client("dynamodb", **where)
    names = [f"{kind}-{secrets.token_hex(4)}" for kind in ("ours", "theirs")]
    for name in names:
        client.create_table(TableName=name, **tables.DESCRIPTION)
    ours = create_data_layer(f"dynamodb://{names[0]}?{options}")
    contenders = {
        OURS: Contender(ours, "alice"),
        THEIRS: Contender(DynamoDBDataLayer(names[1], client=client), "alice"),
    }
    contenders[OURS].count(await ours.table._connected())  # type: ignore[attr-defined]
    contenders[THEIRS].count(client)
    for one in contenders.values():
        await one.prepare()
    calls = await measured(contenders)
    resource = boto3.resource("dynamodb", **where)
    filled = {name: resource.Table(table) for name, table in zip(contenders, names, strict=True)}
    pages = await read_per_page(contenders, filled)
    await ours.close()
    head = " | ".join(f"{name}: {what}" for name in contenders for what in ("requests", "ms", "loop blocked, ms"))
    return [
        f"| | {head} |",
        "| --- |" + " ---: |" * 6,
        *calls,
        "",
        "Items read for a page (of 20 in ours; Chainlit's own gives 10 whatever is asked for):",
        "",
        f"| Threads | {' | '.join(contenders)} |",
        "| ---: | ---: | ---: |",
        *pages,
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default="moto", help="the name of the server at TEST_DYNAMODB_URL, for the report")
    server: str = parser.parse_args().server
    before = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() as folder,
        dynamodb_server(Path(folder)) as options,
        LoopThread("distance") as relay,
    ):
        place = urlsplit(place_of(f"dynamodb://any?{options}").endpoint_url or "")
        distance = Distance(place.port or 80)
        port = relay.run(distance.serve())
        rows = asyncio.run(run(f"region={REGION}&endpoint_url=http://127.0.0.1:{port}"))
        relay.run(distance.close())
    load = f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} at the end"
    lines = [
        TITLE,
        "",
        f"Written by `python -m benchmarks.dynamodb`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores; {load}.",
        f"Both use one server ({server}) in its own process, {1000 * DELAY_SECONDS:.0f} ms away.",
        f"Requests are means of {ROUNDS + 5} calls. Times are medians, and so is the longest time of a call for which",
        "the event loop did nothing else. In a turn, pauses of 20 ms stand for the model.",
        "",
        *rows,
    ]
    put_section(PAGE, TITLE, lines)


if __name__ == "__main__":
    main()
