"""Runs jobs in this process: looks for work, says that the process is alive, takes over, starts scheduled jobs.

A process without jobs asks the database one question every few seconds, and writes nothing.
"""

import asyncio
import contextvars
import logging
import os
import socket
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_json, utc_now
from datalayer.database import Database
from datalayer.errors import DataLayerError, JobFailed, JobLater, StorageUnavailable
from datalayer.jobs import claims, rows
from datalayer.jobs.checkpoints import Checkpoints
from datalayer.jobs.endings import follow
from datalayer.jobs.kinds import Kind
from datalayer.jobs.run import Operation, Run, Submit
from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.jobs import Job, JobState
from datalayer.writes.repeats import repeatable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Times:
    """In seconds."""

    look: float = 5.0
    """Between two looks for work, of a process that runs no job."""
    beat: float = 2.0
    """Between two heartbeats of a process that runs jobs."""
    dead_after: float = 30.0
    """Without a heartbeat, until a process counts as dead."""
    elected: float = 30.0
    """For which a process is elected to take over jobs and to start scheduled ones."""
    cancel: float = 10.0
    """That the function of a cancelled job gets to end by itself."""
    away: float = 10.0
    """Until a job is tried again that was interrupted; doubled with each interruption."""


class Runner:
    """Runs the registered kinds, from `start` to `stop`."""

    def __init__(
        self,
        database: Database,
        submit: Submit,
        kinds: dict[tuple[str, int], Kind],
        checkpoints: Checkpoints,
        times: Times,
    ) -> None:
        self.replica_id = str(uuid.uuid4())
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._database = database
        self._submit = submit
        self._kinds = kinds
        self._checkpoints = checkpoints
        self._times = times
        self._runs: dict[str, Run] = {}
        self._task: asyncio.Task[None] | None = None
        self._wakes = asyncio.Event()
        self._is_stopping = False
        self._has_row = False
        self._is_away = False
        self._began = time.monotonic()
        self._due: dict[str, float] = {}
        self._unknown: set[tuple[str, int]] = set()

    def start(self) -> None:
        """Begin, in an empty context: the jobs of all users run here."""
        if self._task is None:
            self._began = time.monotonic()
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._work(), name="datalayer-jobs", context=contextvars.Context())

    def note(self) -> None:
        """There may be something to do."""
        self._wakes.set()

    async def stop(self, seconds: float) -> None:
        """Interrupt the running jobs, and let them wait for another process, or for the next start of this one."""
        self._is_stopping = True
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        tasks += [self._task] if self._task is not None else []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        if self._has_row and not self._runs:
            try:
                async with asyncio.timeout(seconds):
                    await self._submit(lambda connection: claims.leave(connection, self.replica_id))
            except (DataLayerError, TimeoutError) as error:
                logger.warning("the row of this process stays in job_replicas: %s", error or "no answer in time")

    async def _work(self) -> None:
        while not self._is_stopping:
            self._wakes.clear()
            try:
                await self._round()
                self._is_away = False
            except DataLayerError as error:
                if not self._is_away:
                    logger.warning("jobs wait for the database: %s", error)
                self._is_away = True
            except Exception:
                logger.exception("looking for jobs failed, and is tried again")
            pause = self._times.beat if self._runs else self._times.look
            try:
                async with asyncio.timeout(pause):
                    await self._wakes.wait()
            except TimeoutError:
                continue

    async def _round(self) -> None:
        if self._runs:
            await self._beat()
        dialect, dead_after = self._database.dialect, self._times.dead_after
        outlook = await self._database.query(lambda connection: claims.look(connection, dialect, dead_after))
        if outlook.has_orphans and await self._is_elected():
            await self._take_over()
        await self._start_scheduled()
        for kind, format_ in outlook.waiting - self._kinds.keys() - self._unknown:
            self._unknown.add((kind, format_))
            logger.warning("jobs of kind %s, format %d wait for a version that knows them", kind, format_)
        if outlook.waiting or outlook.has_orphans:
            await self._claim()
        if not self._runs:
            await self._checkpoints.rest()

    async def _beat(self) -> None:
        dialect = self._database.dialect
        own = await self._submit(lambda connection: claims.beat(connection, dialect, self.replica_id, self._name))
        self._has_row = True
        for run in list(self._runs.values()):
            is_cancelling = own.pop((run.job.id, run.job.attempt), None)
            if is_cancelling is None:
                if not run.is_ending:
                    logger.warning("job %s was taken over by another process", run.job.id, extra={"job_id": run.job.id})
                    run.lose()
            elif is_cancelling:
                run.cancel()
                assert run.cancelled_at is not None
                if time.monotonic() - run.cancelled_at > self._times.cancel and run.task is not None:
                    run.task.cancel()
            if progress := run.take_progress():
                await self._submit(partial(claims.note, job=run.job, **progress))
        for job_id, attempt in own:
            # Its run is over, but the database was away when its end was to be stored.
            moment = utc_now()
            drop = partial(claims.drop, job_id=job_id, attempt=attempt, moment=moment)
            if await self._submit_end(drop, job_id, moment) == "cancelled":
                await self._follow(job_id)

    async def _is_elected(self) -> bool:
        dialect, seconds = self._database.dialect, self._times.elected
        elected = await self._submit(lambda connection: claims.elect(connection, dialect, self.replica_id, seconds))
        self._has_row = self._has_row or elected
        return bool(elected)

    async def _take_over(self) -> None:
        dialect, dead_after, moment = self._database.dialect, self._times.dead_after, utc_now()
        freed: list[tuple[str, JobState]] = []

        async def free(connection: AsyncConnection) -> None:
            freed[:] = await claims.free_orphans(connection, dialect, dead_after, moment)

        async def are_freed(connection: AsyncConnection) -> bool:
            return await rows.have_ended(connection, [job_id for job_id, _state in freed], moment)

        await self._submit(repeatable(free, are_freed))
        for job_id, state in freed:
            if state == "failed":
                logger.error(
                    "job %s failed: %d processes ended while they ran it",
                    *(job_id, claims.MOST_INTERRUPTIONS),
                    extra={"job_id": job_id},
                )
                await self._follow(job_id)
            elif state == "cancelled":
                logger.info("job %s is cancelled", job_id, extra={"job_id": job_id})
                await self._follow(job_id)
            else:
                logger.warning("job %s is taken over from a dead process", job_id, extra={"job_id": job_id})

    async def _submit_end(self, change: Operation, job_id: str, moment: str) -> Any:
        """The result of a change that may end the job at this moment; the same if the queue repeats the change."""
        return await self._submit(repeatable(change, lambda connection: rows.have_ended(connection, [job_id], moment)))

    async def _follow(self, job_id: str) -> None:
        try:
            job = await self._database.query(lambda connection: rows.find(connection, job_id, SYSTEM))
        except DataLayerError as error:
            logger.error(
                "what follows the end of job %s was left out, because the job could not be read: %s",
                *(job_id, error),
                extra={"job_id": job_id},
            )
            return
        if job is not None:
            await follow(self._kinds, job)

    async def _start_scheduled(self) -> None:
        """Start the scheduled kinds that are due, if this process is elected."""
        now = time.monotonic()
        for kind in self._newest():
            schedule = kind.schedule
            if schedule is None or now < self._due.get(kind.name, self._began + self._first_after(kind)):
                continue
            wait = await self._seconds_until_due(kind)
            if wait <= 0 and await self._is_elected():
                # Another process may have started it before this one was elected.
                wait = await self._seconds_until_due(kind)
                if wait <= 0:
                    await self._start(kind)
                    wait = schedule.every_seconds
            self._due[kind.name] = time.monotonic() + max(wait, self._times.look)

    def _first_after(self, kind: Kind) -> float:
        assert kind.schedule is not None
        return min(kind.schedule.first_after_seconds, kind.schedule.every_seconds)

    async def _seconds_until_due(self, kind: Kind) -> float:
        assert kind.schedule is not None
        last = await self._database.query(lambda connection: claims.last_start(connection, kind.name))
        if last is None:
            return 0.0
        passed = datetime.fromisoformat(utc_now()) - datetime.fromisoformat(last)
        return kind.schedule.every_seconds - passed.total_seconds()

    async def _start(self, kind: Kind) -> None:
        job = Job(str(uuid.uuid4()), kind.name, kind.format, "waiting", utc_now(), key="scheduled")
        dialect = self._database.dialect
        await self._submit(lambda connection: rows.start(connection, dialect, job))
        await self._claim()

    def _newest(self) -> list[Kind]:
        newest: dict[str, Kind] = {}
        for kind in self._kinds.values():
            if kind.name not in newest or newest[kind.name].format < kind.format:
                newest[kind.name] = kind
        return list(newest.values())

    async def _claim(self) -> None:
        """Claim and begin jobs until none is left, or enough of each kind run."""
        dialect = self._database.dialect
        while not self._is_stopping:
            running = Counter(run.job.kind for run in self._runs.values())
            formats: dict[str, list[int]] = {}
            for kind in self._kinds.values():
                if running[kind.name] < kind.at_once:
                    formats.setdefault(kind.name, []).append(kind.format)
            if not formats:
                return
            if not self._runs:
                # Without a heartbeat, the job would be an orphan at once.
                await self._beat()
            claim = partial(claims.claim, dialect=dialect, replica_id=self.replica_id, formats=formats)
            job: Job | None = await self._submit(claim)
            if job is None:
                return
            self._begin(job)

    def _begin(self, job: Job) -> None:
        run = Run(job, self._submit, self._checkpoints)
        self._runs[job.id] = run
        logger.info("job %s (%s) begins, attempt %d", job.id, job.kind, job.attempt, extra={"job_id": job.id})
        loop = asyncio.get_running_loop()
        run.task = loop.create_task(self._run(run), name=f"job-{job.kind}", context=contextvars.Context())

    async def _run(self, run: Run) -> None:
        job, is_done = run.job, False
        try:
            try:
                state, result, error = await self._outcome(run)
                run.is_ending = True
                is_done = await self._end(run, state, result, error) and state == "done"
            finally:
                # Also if the end was not stored, or `stop` did not wait for it: a thread of DBOS waits for steps.
                await run.end_steps(is_done=is_done)
        except DataLayerError as error:
            # Its row says that it runs here, until a heartbeat finds that it does not.
            logger.error("the end of job %s was not stored: %s", job.id, error, extra={"job_id": job.id})
        finally:
            self._runs.pop(job.id, None)
            self._wakes.set()

    async def _outcome(self, run: Run) -> tuple[JobState, Any, str | None]:
        """Run the function; gives the state in which the job is left, its result, and why it failed."""
        job, owner = run.job, run.job.owner
        kind = self._kinds[job.kind, job.format]
        with acting_as(SYSTEM if owner is None else owner):
            try:
                result = clean_json(await kind.work(run))
            except asyncio.CancelledError:
                return ("cancelled" if run.cancelled else "waiting"), None, "It was interrupted again and again."
            except StorageUnavailable as error:
                logger.warning("job %s waits for the database: %s", job.id, error, extra={"job_id": job.id})
                return "waiting", None, str(error)
            except JobLater as error:
                run.pause_seconds, run.is_interruption = error.seconds, error.is_interruption
                logger.info("job %s waits: %s", job.id, error, extra={"job_id": job.id})
                return "waiting", None, str(error)
            except DataLayerError as error:
                logger.error("job %s (%s) failed: %s", job.id, job.kind, error, extra={"job_id": job.id})
                return "failed", clean_json(error.result) if isinstance(error, JobFailed) else None, str(error)
            except Exception as error:
                # The words of an unforeseen error may reveal what its reader must not know.
                logger.exception("job %s (%s) failed", job.id, job.kind, extra={"job_id": job.id})
                return "failed", None, f"unexpected error ({type(error).__name__}); the log has the details"
        return ("cancelled", None, None) if run.cancelled else ("done", result, None)

    async def _end(self, run: Run, state: JobState, result: Any, error: str | None) -> bool:
        """Store how the run ended, with the progress that is not stored yet; False if the job was lost."""
        job, dialect, moment = run.job, self._database.dialect, utc_now()
        progress = run.take_progress()
        is_given_up = state == "waiting" and not self._is_stopping and run.is_interruption
        is_given_up = is_given_up and job.interruptions + 1 >= claims.MOST_INTERRUPTIONS
        if is_given_up:
            state = "failed"
        if state == "waiting":
            is_own = self._is_stopping or not run.is_interruption
            pause = self._times.away * 2**job.interruptions if run.pause_seconds is None else run.pause_seconds
            seconds = 0.0 if self._is_stopping else pause
            wait = partial(claims.postpone, dialect=dialect, job=job, moment=moment, seconds=seconds)
            left = await self._submit_end(partial(wait, interrupted=not is_own, **progress), job.id, moment)
            if left == "cancelled":
                logger.info("job %s (%s) is cancelled", job.id, job.kind, extra={"job_id": job.id})
                await self._follow(job.id)
            return left is not None
        why = error if state == "failed" else None
        end = partial(claims.end, job=job, state=state, moment=moment, result=result, error=why, **progress)
        kept = await self._submit_end(end, job.id, moment)
        logger.info("job %s (%s) is %s", job.id, job.kind, state, extra={"job_id": job.id})
        if kept and is_given_up:
            await self._follow(job.id)
        return bool(kept)
