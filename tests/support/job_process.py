"""A process that runs jobs, which a test can kill: `python -m tests.support.job_process URL LOG AHEAD DEAD_AFTER`.

Its functions write a line to the log for each step that they begin. Its clock is AHEAD seconds ahead of the right one.
Others take its jobs over when they have not heard of it for DEAD_AFTER seconds.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datalayer import Job, JobContext
from datalayer.database import Database
from datalayer.jobs.jobs import Jobs
from datalayer.jobs.runner import Times
from tests.support.forks import Fork
from tests.support.patience import PATIENCE_SECONDS
from tests.support.server import ROOT, forks

# A process that is only slow, on a busy machine, is not dead.
TIMES = Times(look=0.2, beat=0.2, dead_after=60.0, elected=2.0, cancel=1.0, away=0.1)
# For tests in which no other process is alive while one is waited for.
SOON = 2.0


def jobs_of(url: str, log: Path) -> Jobs:
    """The jobs of this database, with the kinds of the tests registered."""

    async def one(number: int, hangs_in: int | None) -> dict[str, int]:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {number}\n")
        if number == hangs_in and not log.with_suffix(".go").exists():
            await asyncio.sleep(3600)
        return {"number": number}

    async def steps(context: JobContext) -> list[Any]:
        """Three steps. The one named by `hangs_in` never ends, unless the file LOG.go exists."""
        results = []
        for number in range(3):
            results.append(await context.step(f"step {number}", one, number, context.arguments.get("hangs_in")))
            await context.progress(number + 1, 3, f"step {number}")
        return results

    async def deadly(context: JobContext) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        await context.progress(1)

    async def follow(job: Job) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {job.state}\n")

    jobs = Jobs(Database(url), None)
    jobs.register_job("steps", steps)
    jobs.register_job("deadly", deadly, on_ending=follow)
    return jobs


async def main(url: str, log: Path, dead_after: float) -> None:
    jobs = jobs_of(url, log)
    jobs.run_jobs(replace(TIMES, dead_after=dead_after))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()} runs\n")
    await ended.wait()
    await jobs.close()


@dataclass
class JobProcesses:
    """Processes that run jobs of one database. They end with the block."""

    url: str
    directory: Path
    _started: list[Fork] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.directory / "steps.log"

    def steps(self) -> list[tuple[int, str]]:
        """The processes and steps in the log."""
        lines = self.log.read_text("utf-8").splitlines() if self.log.exists() else []
        return [(int(process), what) for process, what in (line.split() for line in lines)]

    def let_go(self) -> None:
        """From now on, no step hangs."""
        self.log.with_suffix(".go").touch()

    async def start(self, *, seconds_ahead: int = 0, dead_after: float = SOON) -> Fork:
        with (self.directory / "output").open("ab") as output:
            process = forks.start(
                "tests.support.job_process",
                [self.url, str(self.log), str(seconds_ahead), str(dead_after)],
                directory=self.directory,
                environment={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": str(self.directory)},
                log=output,
            )
        self._started.append(process)
        await self.until(lambda steps: (process.pid, "runs") in steps)
        return process

    async def until(self, condition: Any, seconds: float = PATIENCE_SECONDS) -> list[tuple[int, str]]:
        """The log, as soon as the condition holds for it."""
        ends = time.monotonic() + seconds
        while not condition(steps := self.steps()):
            output = self.directory / "output"
            assert time.monotonic() < ends, (steps, output.read_text("utf-8") if output.exists() else "")
            await asyncio.sleep(0.02)
        return steps

    def close(self) -> None:
        for process in self._started:
            process.kill()
            if process.returncode is None:
                process.wait_blocking()


@contextlib.contextmanager
def job_processes(url: str, directory: Path) -> Iterator[JobProcesses]:
    processes = JobProcesses(url, directory)
    try:
        yield processes
    finally:
        processes.close()


def put_clock_ahead(seconds: int) -> None:
    """Set the clock of this process wrong, as of a machine without NTP."""
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + seconds
    time.time_ns = lambda: now_ns() + seconds * 1_000_000_000


def _arguments(given: Sequence[str]) -> Mapping[str, Any]:
    url, log, seconds, dead_after = given
    put_clock_ahead(int(seconds))
    return {"url": url, "log": Path(log), "dead_after": float(dead_after)}


if __name__ == "__main__":
    asyncio.run(main(**_arguments(sys.argv[1:])))
