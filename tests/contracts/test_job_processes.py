"""Jobs whose processes die: each test kills real ones."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from datalayer import Job
from datalayer.jobs.claims import MOST_INTERRUPTIONS
from datalayer.jobs.jobs import Jobs
from datalayer.records.jobs import JobState
from datalayer.schema.jobs import job_elections, job_replicas
from datalayer.schema.jobs import jobs as job_table
from tests.support.job_process import TIMES, JobProcesses, job_processes, jobs_of
from tests.support.patience import until

pytestmark = pytest.mark.slow
# Longer than the heartbeats of a process that is alive can be late.
PATIENT = 60.0


@pytest.fixture
def processes(database_url: str, tmp_path: Path) -> Iterator[JobProcesses]:
    with job_processes(database_url, tmp_path) as some:
        yield some


@pytest.fixture
async def jobs(database_url: str, tmp_path: Path) -> AsyncIterator[Jobs]:
    """The same jobs, in a process that runs none."""
    here = jobs_of(database_url, tmp_path / "unused.log")
    yield here
    await here.close()


async def ended(jobs: Jobs, job: Job, state: JobState = "done") -> Job:
    async def in_this_state() -> Job | None:
        found = await jobs.get_job(job.id)
        return found if found and found.state == state else None

    return await until(in_this_state)


async def test_another_process_goes_on_at_the_step_in_which_one_was_killed(jobs: Jobs, processes: JobProcesses) -> None:
    first = await processes.start()
    job = await jobs.start_job("steps", {"hangs_in": 1})
    await processes.until(lambda steps: (first.pid, "1") in steps)
    first.kill()
    processes.let_go()
    second = await processes.start()
    done = await ended(jobs, job)
    steps = [one for one in processes.steps() if one[1] != "runs"]
    assert steps == [(first.pid, "0"), (first.pid, "1"), (second.pid, "1"), (second.pid, "2")]
    assert done.result == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert (done.done, done.total, done.attempt, done.interruptions) == (3, 3, 2, 1)


async def let_its_time_pass(jobs: Jobs, job: Job) -> None:
    """Let the marks of the dead process that has the job be old, as if an hour had passed since its end."""
    replica = select(job_table.c.replicaId).where(job_table.c.id == job.id).scalar_subquery()
    async with jobs.database.write() as connection:
        for marked, moment in (
            (job_replicas.c.id, job_replicas.c.seenAt),
            (job_elections.c.replicaId, job_elections.c.until),
        ):
            await connection.execute(update(moment.table).where(marked == replica).values({moment: moment - 3600}))


async def test_one_of_two_replicas_takes_over_and_wrong_clocks_do_not_matter(
    jobs: Jobs, processes: JobProcesses
) -> None:
    first = await processes.start(dead_after=PATIENT)
    started = [await jobs.start_job("steps", {"hangs_in": 1}, key="a")]
    await processes.until(lambda steps: (first.pid, "1") in steps)
    others = [await processes.start(seconds_ahead=ahead, dead_after=PATIENT) for ahead in (300, -300)]
    # Neither takes the job of a process that is alive, although one of them is far ahead of it.
    await asyncio.sleep(1)
    assert {process for process, what in processes.steps() if what != "runs"} == {first.pid}
    first.kill()
    await first.wait()
    await let_its_time_pass(jobs, started[0])
    processes.let_go()
    done = await ended(jobs, started[0])
    counted = Counter(what for process, what in processes.steps() if what != "runs" and process != first.pid)
    assert counted == {"1": 1, "2": 1}
    assert {process for process, what in processes.steps() if what == "2"} < {other.pid for other in others}
    assert done.attempt == 2


async def test_a_process_that_stops_hands_its_job_over_at_once(jobs: Jobs, processes: JobProcesses) -> None:
    first, second = [await processes.start(dead_after=TIMES.dead_after) for _ in range(2)]
    job = await jobs.start_job("steps", {"hangs_in": 1})
    steps = await processes.until(lambda steps: any(what == "1" for _, what in steps))
    running, other = (first, second) if (first.pid, "1") in steps else (second, first)
    processes.let_go()
    running.send_signal(signal.SIGTERM)
    done = await ended(jobs, job)
    assert await running.wait() == 0
    assert (other.pid, "2") in processes.steps()
    assert done.interruptions == 0, "a job that was handed over was not interrupted"


async def test_a_process_that_was_frozen_does_not_go_on_with_a_job_that_was_taken_over(
    jobs: Jobs, processes: JobProcesses
) -> None:
    first = await processes.start()
    job = await jobs.start_job("steps", {"hangs_in": 1})
    await processes.until(lambda steps: (first.pid, "1") in steps)
    os.kill(first.pid, signal.SIGSTOP)
    processes.let_go()
    second = await processes.start()
    await ended(jobs, job)
    os.kill(first.pid, signal.SIGCONT)
    await asyncio.sleep(1)
    assert [what for process, what in processes.steps() if process == first.pid] == ["runs", "0", "1"]
    assert [what for process, what in processes.steps() if process == second.pid] == ["runs", "1", "2"]
    assert (await ended(jobs, job)).attempt == 2


async def test_a_job_that_kills_its_processes_fails_in_the_end(jobs: Jobs, processes: JobProcesses) -> None:
    job = await jobs.start_job("deadly")
    first = await processes.start()
    await first.wait()
    interrupted = update(job_table).where(job_table.c.id == job.id).values(interruptions=MOST_INTERRUPTIONS - 2)
    async with jobs.database.write() as connection:
        await connection.execute(interrupted)
    second = await processes.start()
    assert await second.wait() == -signal.SIGKILL
    survivor = await processes.start()
    failed = await ended(jobs, job, "failed")
    assert failed.error == "The process that ran this job ended 5 times without finishing it."
    await processes.until(lambda steps: (survivor.pid, "failed") in steps)
    assert survivor.returncode is None
