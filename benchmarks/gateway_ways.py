"""Calls through the gateway beside calls to the provider directly and through LiteLLM.

The provider is `token_server` in a process of its own; the gateway is `threadkeeper serve` in another one, and stores
every call. All ways take turns in small rounds, so that other work on the machine affects all of them. Afterwards the
rows are compared with what was asked. Then the server is killed while calls are in flight, and its rows are compared
with the ledger of the scripted server.
`benchmarks.gateway` runs this and reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from benchmarks.gateway_killed import Killed, kill_in_between, server_process
from benchmarks.litellm_proxy import KEY, LiteLLM, litellm_proxy
from benchmarks.token_server import TOKENS
from datalayer import CallFilter, Project, Provider
from tests.support.records import new_id
from tests.support.server import SERVE, AppServer

WAYS = DIRECT, GATEWAY, LITELLM = "direct", "gateway", "LiteLLM"
AT_ONCE = (1, 20, 100)
_KEY = "sk-benchmark-0123456789"
# The first requests of a process load code, which is not part of a call's cost.
_WARM_UP = 20


@dataclass
class Timed:
    """Seconds to the first byte and to the last one of each call, seconds of all rounds, and seconds of CPU.

    `incomplete`: calls that failed or whose frames are not complete.
    """

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    incomplete: int = 0

    def medians(self) -> tuple[float, float]:
        """In milliseconds."""
        return statistics.median(self.first) * 1_000, statistics.median(self.whole) * 1_000

    @property
    def cpu_ms(self) -> float:
        """Of a call."""
        return self.cpu_seconds * 1_000 / len(self.whole)

    @property
    def a_second(self) -> float:
        """Calls."""
        return len(self.whole) / self.seconds


@dataclass
class Way:
    """An address that answers, with the key that it wants. `process`: of the proxy; None for the direct way."""

    url: str
    key: str
    process: psutil.Process | None = None

    def cpu_seconds(self) -> float:
        return 0.0 if self.process is None else sum(self.process.cpu_times()[:2])

    @property
    def megabytes(self) -> float:
        return 0.0 if self.process is None else self.process.memory_info().rss / 1e6

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
        # LiteLLM leaves frames without text out, and adds one of its own.
        frames = got.count(b'"content":"word-') + got.count(b'"content": "word-')
        timed.incomplete += response.status != 200 or (stream and (frames != TOKENS or not got.endswith(b"[DONE]\n\n")))

    async def round(self, session: aiohttp.ClientSession, timed: Timed, *, stream: bool, count: int) -> None:
        """So many calls at once."""
        cpu, begun = self.cpu_seconds(), time.perf_counter()
        await asyncio.gather(*(self.ask(session, timed, stream=stream) for _ in range(count)))
        timed.seconds += time.perf_counter() - begun
        # What follows an answer, such as its row, costs CPU time after it.
        await asyncio.sleep(0.05)
        timed.cpu_seconds += self.cpu_seconds() - cpu


@dataclass
class Measured:
    """The calls of one kind, so many at once, on all ways."""

    stream: bool
    at_once: int
    ways: dict[str, Timed]

    def added(self, way: str) -> tuple[float, float]:
        """What a proxy adds to the medians of the first and the last byte, in milliseconds."""
        (first, whole), (first_direct, whole_direct) = self.ways[way].medians(), self.ways[DIRECT].medians()
        return first - first_direct, whole - whole_direct

    def ratio(self, way: str) -> float:
        """The median of the whole, divided by that of the direct way."""
        return self.ways[way].medians()[1] / self.ways[DIRECT].medians()[1]


@dataclass
class Result:
    """All measurements. `stored`: whether every call of a proxy has a row with its tokens; `megabytes` at the end."""

    measured: list[Measured]
    stored: dict[str, bool]
    megabytes: dict[str, float]
    killed: Killed


async def measure(
    database_url: str, *, rounds: int, litellm: tuple[str, str] | None = None, at_once: Sequence[int] = AT_ONCE
) -> Result:
    """Measure all ways. `litellm`: the command of LiteLLM, and the URL of an empty database for its rows."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="threadkeeper-gateway-")))
        provider = await stack.enter_async_context(server_process("benchmarks.token_server"))
        server = AppServer(folder / "ours", database_url, {"LAB_KEY": _KEY}, program=SERVE)
        await stack.enter_async_context(server)
        secret = await _prepared(server, provider)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=120))
        )
        ours = Way(f"{server.base_url}/gateway/lab/tokens", secret, psutil.Process(server.process_id))
        ways, other = {DIRECT: Way(provider, _KEY), GATEWAY: ours}, None
        if litellm is not None:
            (folder / "litellm").mkdir()
            other = await stack.enter_async_context(litellm_proxy(litellm[0], folder / "litellm", provider, litellm[1]))
            ways[LITELLM] = Way(other.base_url, KEY, psutil.Process(other.process_id))
        for way in ways.values():
            for _ in range(_WARM_UP):
                await way.ask(session, Timed(), stream=False)
            await way.ask(session, Timed(), stream=True)
        asked, found = _WARM_UP + 1, []
        for stream in (False, True):
            for count in at_once:
                measured = Measured(stream, count, {name: Timed() for name in ways})
                found.append(measured)
                for number in range(rounds * ((5 if count == 1 else 1) if stream else max(5, 100 // count))):
                    names = list(ways) if number % 2 == 0 else list(ways)[::-1]
                    for name in names:
                        await ways[name].round(session, measured.ways[name], stream=stream, count=count)
                    asked += count
        stored = {GATEWAY: await _are_stored(server, asked)}
        if other is not None:
            stored[LITELLM] = await _are_in_table(other, asked)
        megabytes = {name: way.megabytes for name, way in ways.items() if way.process is not None}
        return Result(found, stored, megabytes, await kill_in_between(server, session))


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


async def _are_in_table(proxy: LiteLLM, asked: int) -> bool:
    for _ in range(100):
        if await proxy.stored() == (asked, asked * TOKENS):
            return True
        await asyncio.sleep(0.1)
    return False
