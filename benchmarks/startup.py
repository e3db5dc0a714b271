"""`python -m benchmarks.startup`: time until the server answers, its memory, and the time of a command.

Each is a ratio to Chainlit itself in the same run: `threadkeeper serve` to `chainlit run` of an empty app, and a
command of the command line to `import chainlit`. The contenders take turns, and medians are compared.
"""

import argparse
import asyncio
import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.chat_report import put_section
from tests.support.chat_client import ChatClient
from tests.support.model_server import API_KEY, ModelServer
from tests.support.server import ROOT, SERVE

EMPTY, DEMO, MODEL = "empty", "demo", "model"
BARE, CHATTED = "bare", "chatted"
TITLES = {
    EMPTY: "`chainlit run` of an empty app",
    DEMO: "`threadkeeper serve`, no model configured",
    MODEL: "`threadkeeper serve`, a model configured",
    BARE: "bare Chainlit app",
    CHATTED: "`threadkeeper serve`",
}
HELP, LIST, IMPORT = "--help", "user list", "import chainlit"
BEFORE = {HELP: 0.38, LIST: 0.38}
"""The same ratios to `import chainlit` at commit 0a13e6f, before the improvements. `--before` measures them again."""
MOST_START, MOST_IDLE, MOST_CHATTED, MOST_COMMAND = 0.8, 0.75, 1.0, 0.25
ROUNDS, COMMAND_ROUNDS = 5, 9
TABS, ANSWERS = 10, 100
MB = 1024 * 1024
_IDLE_SECONDS = 4.0
_PATIENCE_SECONDS = 120.0
_ASKER, _PASSWORD = "asker", "a password of the benchmark"
# A model whose window is known, so that a thread is far from it; the scripted server repeats the question.
_MODEL = "gpt-4o-mini"
_QUESTION = " ".join(f"word-{number}" for number in range(1, 151))
_EMPTY_APP = "import chainlit as cl\n\n\n@cl.on_message\nasync def answer(message: cl.Message) -> None:\n    pass\n"
# Variables that are passed on.
_INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


@dataclass
class Found:
    """Seconds, also of CPU time, until the first answer, and MB when idle, for each start; MB after the answers."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu_seconds: dict[str, list[float]] = field(default_factory=dict)
    idle: dict[str, list[float]] = field(default_factory=dict)
    chatted: dict[str, float] = field(default_factory=dict)
    commands: dict[str, list[float]] = field(default_factory=dict)
    before: dict[str, list[float]] = field(default_factory=dict)

    def start_ratio(self, kind: str) -> float:
        return statistics.median(self.seconds[kind]) / statistics.median(self.seconds[EMPTY])

    def idle_ratio(self, kind: str) -> float:
        return statistics.median(self.idle[kind]) / statistics.median(self.idle[EMPTY])

    def chatted_ratio(self) -> float:
        return self.chatted[CHATTED] / self.chatted[BARE]

    def command_ratio(self, command: str) -> float:
        """To the time of `import chainlit`."""
        return statistics.median(self.commands[command]) / statistics.median(self.commands[IMPORT])

    def before_ratio(self, command: str) -> float:
        """The same, at the commit that is compared with."""
        if not self.before:
            return BEFORE[command]
        return statistics.median(self.before[command]) / statistics.median(self.commands[IMPORT])


class Starts:
    """Servers on data folders of their own, each a copy of one that was migrated and has one user."""

    def __init__(self, directory: Path, model_url: str) -> None:
        self._directory, self._model_url = directory, model_url
        self._count = 0
        self._template = directory / "template"
        environment = self._environment(directory, self._template)
        for arguments, given in ((("migrate",), ""), (("user", "add", _ASKER, "--password-stdin"), _PASSWORD)):
            subprocess.run(
                [sys.executable, "-m", "threadkeeper.cli", *arguments],
                cwd=directory,
                env=environment,
                input=given,
                text=True,
                stdout=subprocess.DEVNULL,
                check=True,
            )

    @asynccontextmanager
    async def start(self, kind: str) -> AsyncIterator[tuple[float, psutil.Process, str]]:
        """A server: the seconds until it answered, its process, its address."""
        self._count += 1
        directory = self._directory / str(self._count)
        root = directory / "root"
        root.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        environment = self._environment(directory, directory / "data") | {"CHAINLIT_APP_ROOT": str(root)}
        if kind in (EMPTY, BARE):
            app = Path(__file__).with_name("bare_app.py")
            if kind == EMPTY:
                app = directory / "app.py"
                app.write_text(_EMPTY_APP)
            program: Sequence[str] = (sys.executable, "-m", "chainlit", "run", str(app), "--headless")
            program = (*program, "--port", str(port))
        else:
            shutil.copytree(self._template, directory / "data")
            for name in (".chainlit", "public"):
                shutil.copytree(ROOT / name, root / name)
            environment |= {"HOST": "127.0.0.1", "PORT": str(port)}
            program = SERVE
        if kind not in (EMPTY, DEMO):
            environment |= {"OPENAI_BASE_URL": self._model_url, "OPENAI_API_KEY": API_KEY, "OPENAI_MODELS": _MODEL}
        with (directory / "log").open("wb") as log:
            began = time.perf_counter()
            process = await asyncio.create_subprocess_exec(
                *program, cwd=directory, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await _answered(process, port)
            yield time.perf_counter() - began, psutil.Process(process.pid), f"http://127.0.0.1:{port}"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _environment(self, directory: Path, data: Path) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        # Any start is measured, and not the first one, which trains the sample assistant.
        own = {"HOME": str(directory), "PYTHONPATH": str(ROOT), "DATA_DIR": str(data), "SAMPLE_ASSISTANT": "false"}
        return {**inherited, **own}


async def _answered(process: asyncio.subprocess.Process, port: int) -> None:
    """Return when a request for the first page is answered with success."""
    while True:
        if process.returncode is not None:
            raise RuntimeError(f"a server of the benchmark ended with {process.returncode}")
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        status = await reader.readline()
        writer.close()
        if status.startswith(b"HTTP/1.1 200"):
            return
        raise RuntimeError(f"a server of the benchmark answered {status!r}")


def resident_mb(process: psutil.Process) -> float:
    """RSS of the process and of every process that it has started."""
    return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))) / MB


async def measure_servers(found: Found, rounds: int, directory: Path) -> None:
    async with ModelServer() as model:
        starts = Starts(directory, model.base_url)
        kinds = (EMPTY, DEMO, MODEL)
        for number in range(rounds):
            for kind in kinds[:: 1 if number % 2 == 0 else -1]:
                async with starts.start(kind) as (seconds, process, _):
                    found.seconds.setdefault(kind, []).append(seconds)
                    times = process.cpu_times()
                    found.cpu_seconds.setdefault(kind, []).append(times.user + times.system)
                    await asyncio.sleep(_IDLE_SECONDS)
                    found.idle.setdefault(kind, []).append(resident_mb(process))
        for kind in (BARE, CHATTED):
            async with starts.start(kind) as (_, process, url):
                await _chat(url, is_bare=kind == BARE)
                await asyncio.sleep(_IDLE_SECONDS)
                found.chatted[kind] = resident_mb(process)


class _BareTab(ChatClient):
    """A tab of an app that knows no users and does nothing when a chat begins."""

    async def log_in(self) -> None:
        pass

    async def connect(self, *, resumes: bool = True, starts: bool = False) -> None:
        await super().connect(resumes=resumes, starts=starts)


async def _chat(url: str, *, is_bare: bool) -> None:
    tab = _BareTab if is_bare else ChatClient
    for _ in range(TABS):
        async with tab(url, _ASKER, _PASSWORD) as client:
            for _ in range(ANSWERS // TABS):
                answer = await client.ask(_QUESTION)
                if answer != f"You said: {_QUESTION}":
                    raise RuntimeError(f"an answer of the benchmark is wrong: {answer[:200]!r}")


def measure_commands(found: Found, rounds: int, directory: Path, before: Path | None = None) -> None:
    """The CPU time of each command, and where there is one that of an earlier checkout, in turns."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment = {**inherited, "HOME": str(directory), "DATA_DIR": str(directory / "commands")}
    runs: list[tuple[dict[str, list[float]], str, list[str], Path]] = [
        (found.commands, IMPORT, ["-c", "import chainlit"], ROOT)
    ]
    for command in (HELP, LIST):
        program = ["-m", "threadkeeper.cli", *command.split()]
        runs.append((found.commands, command, program, ROOT))
        if before is not None:
            runs.append((found.before, command, program, before))

    def run(program: Sequence[str], source: Path) -> float:
        began = _cpu_of_children()
        subprocess.run(
            [sys.executable, *program],
            cwd=directory,
            env=environment | {"PYTHONPATH": str(source)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return _cpu_of_children() - began

    run(["-m", "threadkeeper.cli", "migrate"], ROOT)
    for number in range(rounds + 1):
        for kept, name, program, source in runs[:: 1 if number % 2 == 0 else -1]:
            seconds = run(program, source)
            # The first run reads what the others find in the system's cache.
            if number:
                kept.setdefault(name, []).append(seconds)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def lines(found: Found, begun: tuple[float, float, float]) -> list[str]:
    """The section, with its title."""
    rows = [
        TITLE,
        "",
        f"Written by `python -m benchmarks.startup`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, Python",
        f"{platform.python_version()}, chainlit {version('chainlit')}; load average {begun[0]:.1f} before,",
        f"{os.getloadavg()[0]:.1f} at the end, the benchmark included.",
        "",
        "From the start of the process to the first page answered, and the resident memory (RSS, of the process and",
        f"what it has started) {_IDLE_SECONDS:g} seconds later; medians of {len(found.seconds[EMPTY])} starts, in",
        "turns. Threadkeeper is on SQLite, in a data folder that was migrated and has one user.",
        "",
        "| | first answer, s | × Chainlit | of CPU, s | × Chainlit | resident when idle, MB | × Chainlit |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind in (EMPTY, DEMO, MODEL):
        seconds, idle = statistics.median(found.seconds[kind]), statistics.median(found.idle[kind])
        cpu = statistics.median(found.cpu_seconds[kind])
        of_chainlit = cpu / statistics.median(found.cpu_seconds[EMPTY])
        rows.append(
            f"| {TITLES[kind]} | {seconds:.2f} | {found.start_ratio(kind):.2f} | {cpu:.2f} "
            f"| {of_chainlit:.2f} | {idle:.0f} | {found.idle_ratio(kind):.2f} |"
        )
    rows += [
        "",
        f"After {ANSWERS} answers of {len(_QUESTION.split())} words, in {TABS} threads one after another. The bare app",
        "keeps nothing; Threadkeeper stores all of it, makes the titles and accounts for every call.",
        "",
        "| | resident, MB | × bare |",
        "| --- | ---: | ---: |",
    ]
    rows += [
        f"| {TITLES[kind]} | {found.chatted[kind]:.0f} | {found.chatted[kind] / found.chatted[BARE]:.2f} |"
        for kind in (BARE, CHATTED)
    ]
    rows += [
        "",
        f"Commands: CPU time, in medians of {len(found.commands[IMPORT])}. `import chainlit` of the same run stands",
        "for the machine: what is compared with commit 0a13e6f is the ratio to it.",
        "",
        "| | of CPU, s | × `import chainlit` | at 0a13e6f | of that |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for command in (IMPORT, HELP, LIST):
        name = "`python -c 'import chainlit'`" if command == IMPORT else f"`threadkeeper {command}`"
        seconds, ratio, compared = statistics.median(found.commands[command]), found.command_ratio(command), "– | –"
        if command != IMPORT and (before := found.before_ratio(command)):
            compared = f"{before:.2f} | {ratio / before:.2f}"
        rows.append(f"| {name} | {seconds:.2f} | {ratio:.2f} | {compared} |")
    rows += ["", "| | budget | measured | |", "| --- | ---: | ---: | --- |"]
    for what, most, measured in judged(found):
        rows.append(f"| {what} | ≤ {most:g} | {measured:.2f} | {'met' if measured <= most else '**not met**'} |")
    return rows


def judged(found: Found) -> list[tuple[str, float, float]]:
    """The name, the maximum and the measured value of each budget."""
    ours = (DEMO, MODEL)
    return [
        ("first answer, × an empty Chainlit app", MOST_START, max(found.start_ratio(kind) for kind in ours)),
        ("resident when idle, × an empty Chainlit app", MOST_IDLE, max(found.idle_ratio(kind) for kind in ours)),
        (f"resident after {ANSWERS} answers, × a bare app", MOST_CHATTED, found.chatted_ratio()),
        *(
            (f"`threadkeeper {command}`, × at 0a13e6f", MOST_COMMAND, found.command_ratio(command) / before)
            for command in (HELP, LIST)
            if (before := found.before_ratio(command))
        ),
    ]


TITLE = "## Start, memory and the command line"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each server is started")
    parser.add_argument("--before", type=Path, help="an earlier checkout, whose commands are timed too")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md", help="page that gets the section")
    options = parser.parse_args()
    begun, found = os.getloadavg(), Found()
    with tempfile.TemporaryDirectory(prefix="threadkeeper-startup-") as directory:
        measure_commands(found, COMMAND_ROUNDS, Path(directory), options.before)
        asyncio.run(measure_servers(found, options.rounds, Path(directory)))
    section = lines(found, begun)
    print("\n".join(section))
    put_section(options.out, TITLE, section)


if __name__ == "__main__":
    main()
