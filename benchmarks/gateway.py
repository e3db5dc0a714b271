"""`python -m benchmarks.gateway`: calls through the gateway beside calls to the provider directly.

The provider is `token_server` in a process of its own; the gateway is `threadkeeper serve` in another one, and stores
every call. Both ways take turns, so that other work on the machine affects both. Afterwards the rows are compared with
what was asked.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import psutil

from benchmarks.chat_report import put_section
from benchmarks.token_server import TOKENS
from datalayer import CallFilter, Project, Provider
from tests.support.postgres import Cluster, Databases, find_binaries
from tests.support.records import new_id
from tests.support.server import ROOT, SERVE, AppServer

PAGE = ROOT / "docs" / "benchmarks.md"
TITLE = "## The gateway"
DIRECT, GATEWAY = "direct", "gateway"
AT_ONCE = (1, 20, 100)
_KEY = "sk-benchmark-0123456789"
# The first requests of a process load code, which is not part of a call's cost.
_WARM_UP = 20
_FRAMES = TOKENS + 2
"""Frames of an answer: its tokens, its end and [DONE]; the one with the usage is not asked for."""


@dataclass
class Timed:
    """Seconds to the first byte and to the last one of each call, and the calls whose frames are not complete."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    incomplete: int = 0

    def medians(self) -> tuple[float, float]:
        """In milliseconds."""
        return statistics.median(self.first) * 1_000, statistics.median(self.whole) * 1_000


@dataclass
class Way:
    """An address that answers, with the key that it wants."""

    url: str
    key: str

    async def ask(self, session: aiohttp.ClientSession, timed: Timed, *, stream: bool) -> None:
        body = {"model": "tokens", "stream": stream, "messages": [{"role": "user", "content": "Count to 200"}]}
        begun, got = time.perf_counter(), b""
        headers = {"Authorization": f"Bearer {self.key}"}
        async with session.post(f"{self.url}/chat/completions", json=body, headers=headers) as response:
            async for chunk in response.content.iter_any():
                if not got:
                    timed.first.append(time.perf_counter() - begun)
                got += chunk
        timed.whole.append(time.perf_counter() - begun)
        frames = got.count(b"\n\n") - got.count(b'"choices": [], "usage"')
        timed.incomplete += response.status != 200 or (
            stream and (frames != _FRAMES or not got.endswith(b"[DONE]\n\n"))
        )


@dataclass
class Measured:
    """The calls of one kind, so many at once, on both ways; and the CPU time of the gateway for one of its calls."""

    stream: bool
    at_once: int
    ways: dict[str, Timed]
    cpu_seconds: float = 0.0

    @property
    def added(self) -> tuple[float, float]:
        """What the gateway adds to the medians of the first and the last byte, in milliseconds."""
        (first, whole), (first_direct, whole_direct) = self.ways[GATEWAY].medians(), self.ways[DIRECT].medians()
        return first - first_direct, whole - whole_direct

    @property
    def ratio(self) -> float:
        """The median of the whole through the gateway, divided by that of the direct way."""
        return self.ways[GATEWAY].medians()[1] / self.ways[DIRECT].medians()[1]


async def measure(database_url: str, *, rounds: int, at_once: tuple[int, ...] = AT_ONCE) -> tuple[list[Measured], bool]:
    """All measurements, and whether every call is stored with its tokens."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="threadkeeper-gateway-")))
        provider = await stack.enter_async_context(_token_server())
        server = await stack.enter_async_context(AppServer(folder, database_url, {"LAB_KEY": _KEY}, program=SERVE))
        secret = await _prepared(server, provider)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=120))
        )
        ways = {DIRECT: Way(provider, _KEY), GATEWAY: Way(f"{server.base_url}/gateway/lab/tokens", secret)}
        asked = 0
        for way in ways.values():
            for _ in range(_WARM_UP):
                await way.ask(session, Timed(), stream=False)
            await way.ask(session, Timed(), stream=True)
        asked += _WARM_UP + 1
        process, found = psutil.Process(server.process_id), []
        for stream in (False, True):
            for count in at_once:
                times = rounds if stream else rounds * max(5, 200 // count)
                measured = Measured(stream, count, {DIRECT: Timed(), GATEWAY: Timed()})
                for number in range(times):
                    for name in (DIRECT, GATEWAY) if number % 2 == 0 else (GATEWAY, DIRECT):
                        before = sum(process.cpu_times()[:2])
                        timed, way = measured.ways[name], ways[name]
                        await asyncio.gather(*(way.ask(session, timed, stream=stream) for _ in range(count)))
                        if name == GATEWAY:
                            asked += count
                            measured.cpu_seconds += sum(process.cpu_times()[:2]) - before
                measured.cpu_seconds /= times * count
                found.append(measured)
        return found, await _are_stored(server, asked)


async def _prepared(server: AppServer, provider: str) -> str:
    await server.add_user("bench", "correct horse battery")
    async with server.layer() as layer:
        tokens = Provider("Tokens", "tokens", provider, secret="LAB_KEY")
        await layer.put_project(Project(new_id(), "Lab", "lab", providers=(tokens,)))
        return (await layer.create_api_key("bench", ["gateway"], user="bench", project="lab"))[1]


async def _are_stored(server: AppServer, asked: int) -> bool:
    """Whether as many calls as were asked are stored, each answer to the token."""
    async with server.layer() as layer:
        for _ in range(100):
            totals = await layer.usage_totals(CallFilter())
            if totals.calls == asked and totals.completion_tokens == asked * TOKENS:
                return True
            await asyncio.sleep(0.1)
    return False


@asynccontextmanager
async def _token_server() -> AsyncIterator[str]:
    command = (sys.executable, "-m", "benchmarks.token_server")
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE)
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


def report(found: list[Measured], loads: tuple[float, float], engine: str, *, are_stored: bool) -> list[str]:
    """The lines of the section."""
    lines = [
        TITLE,
        "",
        f"Written by `python -m benchmarks.gateway`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, {engine};",
        f"load average {loads[0]:.1f} before, {loads[1]:.1f} at the end, the benchmark included.",
        "",
        f"Calls to a scripted provider directly and through the gateway, in turns; {TOKENS} tokens an answer, a",
        "stream sends 50 a second. Medians. Provider, gateway, database and the caller share the cores.",
        "",
        "| Calls | At once | First byte, direct | Added | Whole, direct | Added | Ratio | Incomplete | CPU a call |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in found:
        (first, whole), (more_first, more_whole) = one.ways[DIRECT].medians(), one.added
        kind = "streams" if one.stream else "plain"
        lines.append(
            f"| {kind} | {one.at_once} | {first:.1f} ms | {more_first:+.1f} ms | {whole:.1f} ms | {more_whole:+.1f} ms "
            f"| {one.ratio:.3f} | {one.ways[GATEWAY].incomplete} | {one.cpu_seconds * 1_000:.1f} ms |"
        )
    return [*lines, "", f"Every call is stored with its tokens: {'yes' if are_stored else 'no'}."]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the gateway adds to a call.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sqlite", action="store_true", help="store in SQLite in place of Postgres")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        if options.sqlite:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="threadkeeper-gateway-"))
            url = f"sqlite:///{folder}/threadkeeper.db"
        else:
            binaries = find_binaries()
            if binaries is None:
                sys.exit("No Postgres server was found: install the package postgresql, or give --sqlite.")
            databases = Databases(stack.enter_context(Cluster(binaries, durable=True)).url)
            stack.callback(databases.close)
            url = databases.create()
        found, are_stored = asyncio.run(measure(url, rounds=options.rounds))
    engine = "SQLite" if options.sqlite else "Postgres"
    put_section(PAGE, TITLE, report(found, (before, os.getloadavg()[0]), engine, are_stored=are_stored))


if __name__ == "__main__":
    main()
