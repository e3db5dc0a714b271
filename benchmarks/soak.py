"""`python -m benchmarks.soak`: two replicas for two hours, with a fault every minute.

A hundred people ask through haproxy, a tenth of the time with a file. Replicas are killed and started again, the
database is restarted, the model server is away, refuses or is slow, the network is cut, the store of files is away.
Memory, file handles, connections and queues of the replica that is never killed must stay flat, the logs may have no
error that belongs to no fault, and at the end everything that was acknowledged is there, once.

`--minutes 3 --people 20` is the short form that the tests run.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import asyncpg
import httpx
import psutil
from sqlalchemy import select

import datalayer
from benchmarks.chat_report import put_section
from benchmarks.soak_faults import Happened, Places, SoakModel, network_to
from benchmarks.soak_people import HEADER, Asked, Person
from benchmarks.soak_report import Sample, Soak, draw, error_lines, section
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.schema.chat import elements, steps
from tests.support.patience import until
from tests.support.plain_http import PLAIN_HTTP
from tests.support.postgres import Cluster, find_binaries
from tests.support.s3_server import REGION, s3_server
from tests.support.server import ROOT, SERVE, AppServer
from tests.support.shared_server import model_settings
from tests.support.topology import Topology, two_replicas

_PAGE = ROOT / "docs" / "scaling.md"
_PLOT = ROOT / "docs" / "soak.svg"
_BUCKET = "soak"
_CONNECTIONS = 15
_OF_OURS = 5
"""Connections of the soak itself, and of a replica that has just been killed."""
_SETTLE_SECONDS = 120.0


async def soak(folder: Path, *, minutes: float, people: int, has_own_processes: bool = True) -> Soak:
    """Run it. `has_own_processes`: whether the replicas are new processes, as in production, or forks, which share
    memory with others and start faster."""
    binaries = find_binaries()
    assert binaries is not None, "no Postgres was found"
    async with AsyncExitStack() as stack:
        # A commit that is acknowledged is in the log, so that a crash loses none.
        cluster = stack.enter_context(Cluster(binaries, settings={"synchronous_commit": "on"}))
        database_url = cluster.url
        store = stack.enter_context(s3_server(folder))
        _make_bucket(store.port, store.access_key_id, store.secret_access_key)
        model = await stack.enter_async_context(SoakModel())
        to_model = await stack.enter_async_context(network_to(model.port))
        to_files = await stack.enter_async_context(network_to(store.port))
        settings = {
            **model_settings(model),
            "OPENAI_BASE_URL": f"http://127.0.0.1:{to_model.port}/v1",
            "OPENAI_MODELS": "echo",
            "OPENAI_MAX_RETRIES": "2",
            "OPENAI_TIMEOUT_SECONDS": "20",
            "AUTH_HEADER": HEADER,
            "DATABASE_CONNECTIONS": str(_CONNECTIONS),
            "LOG_JSON": "true",
        }
        files = {
            "BLOB_URL": f"s3://{_BUCKET}",
            "S3_ENDPOINT_URL": f"http://127.0.0.1:{to_files.port}",
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": store.access_key_id,
            "AWS_SECRET_ACCESS_KEY": store.secret_access_key,
        }
        chosen = SERVE if has_own_processes else None
        topology = await stack.enter_async_context(
            two_replicas(folder, database_url, settings, programs=(chosen, chosen), environments=(files, files))
        )
        to_people = await stack.enter_async_context(network_to(int(topology.url.rpartition(":")[2])))
        (kept, _), (_, killed) = topology.replicas.items()
        places = Places(cluster, killed, model, to_model, to_files, to_people)
        found = Soak(minutes, people, time.time(), kept, most_connections=2 * (_CONNECTIONS + 3) + _OF_OURS)
        await _run(found, topology, places, database_url)
        found.lines = [line for server in topology.replicas.values() for line in error_lines(server.log)]
        blobs = datalayer.open_blob_store(
            files["BLOB_URL"],
            datalayer.BlobOptions(
                s3_endpoint=files["S3_ENDPOINT_URL"],
                s3_region=REGION,
                s3_access_key_id=store.access_key_id,
                s3_secret_access_key=store.secret_access_key,
            ),
        )
        layer = datalayer.create_data_layer(database_url, blobs)
        try:
            found.missing = await missing(layer, found.asked)
        finally:
            await layer.close()
    return found


async def _run(found: Soak, topology: Topology, places: Places, database_url: str) -> None:
    begun = time.monotonic()
    over = begun + found.minutes * 60
    watching = asyncio.create_task(_watch(found, topology, database_url, begun))
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=90)
    url = f"http://127.0.0.1:{places.people_network.port}"
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as http:
        everybody = [
            Person(http, url, f"user-{number}", pause=20, is_over=lambda: time.monotonic() >= over)
            for number in range(1, found.people + 1)
        ]
        living = [asyncio.create_task(person.live()) for person in everybody]
        await _break(places, found.minutes * 60)
        found.happened = places.happened
        ends = await asyncio.gather(*living, return_exceptions=True)
    # What was measured for hours is not lost with one person.
    found.broken = [f"{type(end).__name__}: {end}" for end in ends if end is not None]
    found.asked = [asked for person in everybody for asked in person.asked]

    ended = time.monotonic() - begun
    await until(lambda: found.is_settled(ended), _SETTLE_SECONDS, what="an empty queue of each replica")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def _break(places: Places, seconds: float) -> None:
    """One fault a minute; in a short run, each of them once."""
    faults, begun = places.faults(), time.monotonic()
    every = min(60.0, seconds / (len(faults) + 1))
    for number in range(1, int(seconds // every)):
        await asyncio.sleep(max(0.0, begun + number * every - time.monotonic()))
        if time.monotonic() - begun > seconds - every / 2:
            return
        fault = faults[(number - 1) % len(faults)]
        happened = Happened(fault, time.time(), time.time() + every)
        places.happened.append(happened)
        print(f"{time.strftime('%H:%M:%S')} {fault.name}", flush=True)
        await fault.begin()
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            await fault.end()
            happened.ended = time.time()


async def _watch(found: Soak, topology: Topology, database_url: str, begun: float) -> None:
    every = 2.0 if found.minutes < 20 else 10.0
    async with httpx.AsyncClient(timeout=5, **PLAIN_HTTP) as http:
        while True:
            seconds = time.monotonic() - begun
            for name, server in topology.replicas.items():
                found.samples.setdefault(name, []).append(await _look(http, server, seconds))
            # While it is restarted, there is nothing to count.
            with contextlib.suppress(OSError, asyncpg.PostgresError, TimeoutError):
                found.connections.append((seconds, await _connections(database_url)))
            await asyncio.sleep(every)


async def _look(http: httpx.AsyncClient, server: AppServer, seconds: float) -> Sample:
    sample = Sample(seconds)
    if not server.is_running:
        return sample
    # It may start, or have been killed just now.
    with contextlib.suppress(psutil.Error, httpx.HTTPError):
        process = psutil.Process(server.process_id)
        sample.megabytes, sample.handles = process.memory_info().rss / 1e6, process.num_fds()
        metrics = (await http.get(f"{server.base_url}/metrics")).text
        sample.queued = _metric(metrics, "threadkeeper_queued_writes")
        sample.pages = _metric(metrics, "threadkeeper_open_sessions")
    return sample


def _metric(text: str, name: str) -> float | None:
    values = (line.split()[1] for line in text.splitlines() if line.startswith(f"{name} "))
    return next((float(value) for value in values), None)


async def _connections(database_url: str) -> int:
    connection = await asyncpg.connect(database_url, timeout=5)
    try:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        return int(await connection.fetchval(asked))
    finally:
        await connection.close()


async def missing(layer: ChainlitLayer, asked: Sequence[Asked]) -> list[str]:
    """What was acknowledged, and is not stored, or twice. The files are in the store of the layer."""
    async with layer.database.read() as connection:
        rows = (await connection.execute(select(steps.c.id, steps.c.threadId, steps.c.type, steps.c.output))).all()
        of_files = (await connection.execute(select(elements.c.forId, elements.c.objectKey))).all()
    questions = {row.id: row for row in rows if row.type == "user_message"}
    answers = Counter((row.threadId, row.output) for row in rows if row.type == "assistant_message")
    keys = {row.forId: row.objectKey for row in of_files}
    found = []
    for one in asked:
        if one.end != "answered":
            continue
        question = questions.get(one.step_id)
        if question is None or (question.threadId, question.output) != (one.thread_id, one.text):
            found.append(f"the question {one.marker} of thread {one.thread_id}")
        if (times := answers[one.thread_id, one.answer]) != 1:
            found.append(f"the answer to {one.marker} is there {times} times in thread {one.thread_id}")
        if one.content is not None and await _read(layer, keys.get(one.step_id)) != one.content:
            found.append(f"the file of {one.marker} in thread {one.thread_id}")
    return found


async def _read(layer: ChainlitLayer, key: str | None) -> bytes | None:
    try:
        return await layer.blobs.read(key) if key is not None else None
    except datalayer.BlobError:
        return None


def _make_bucket(port: int, key_id: str, secret: str) -> None:
    import boto3  # noqa: PLC0415  half a second

    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=REGION,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
    )
    client.create_bucket(Bucket=_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--no-page", action="store_true", help="leave the page and the plot as they are")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="threadkeeper-soak-") as folder:
        found = asyncio.run(soak(Path(folder), minutes=options.minutes, people=options.people))
    print("\n".join(section(found, _PLOT)))
    if not options.no_page:
        draw(found, _PLOT)
        put_section(_PAGE, "## Soak", section(found, _PLOT))
    for problem in (problems := found.problems()):
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
