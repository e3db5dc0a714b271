"""Public methods for jobs.

A user sees, cancels and retries the own jobs; the system all; a visitor none. Every process can start, list and cancel
jobs; those that call `run_jobs` run the kinds that they have registered.
"""

import asyncio
import logging
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from datalayer.cleaning import clean_id, clean_json, clean_text, clean_time, known_id, utc_now
from datalayer.errors import ConfigurationError, Forbidden, InvalidRecord
from datalayer.jobs import rows
from datalayer.jobs.checkpoints import Checkpoints
from datalayer.jobs.endings import follow
from datalayer.jobs.kinds import JobEnding, JobFunction, JobSchedule, Kind
from datalayer.jobs.runner import Runner, Times
from datalayer.ownership import SYSTEM, acting_user, demand_system
from datalayer.records.jobs import Job, JobPage, JobState
from datalayer.store import DataStore
from datalayer.writes.repeats import repeatable

logger = logging.getLogger(__name__)

MOST_JOBS = 500
_FORGOTTEN_AT_ONCE = 500
_STOP_SECONDS = 2.0
_CHECKPOINT_SECONDS = 5.0
"""How long DBOS may take to close, which needs a second and an answer of the database."""


class Jobs(DataStore):
    """Jobs: work that survives a restart of the process, and that another process takes over when one dies."""

    _runner: Runner | None = None

    @cached_property
    def _job_kinds(self) -> dict[tuple[str, int], Kind]:
        return {}

    @cached_property
    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.database)

    def register_job(
        self,
        kind: str,
        work: JobFunction,
        *,
        format: int = 1,  # noqa: A002  the word of the records
        at_once: int = 1,
        schedule: JobSchedule | None = None,
        on_ending: JobEnding | None = None,
    ) -> None:
        """Register the function of a kind of job, before `run_jobs`. See `datalayer.jobs.kinds` for what it may do.

        Args:
            kind: the name of the kind.
            work: is called for each job of the kind and format.
            format: of the arguments and steps, from 1. A job is run by the function of its own format; new jobs get the
                highest one.
            at_once: how many jobs of the kind this process runs at the same time.
            schedule: starts the kind by itself, in one process.
            on_ending: is called by one process with a job that has ended without its function, because it was cancelled
                while it waited or interrupted too often.

        Raises:
            ConfigurationError: the kind is registered in this format already.
        """
        if (kind, format) in self._job_kinds:
            raise ConfigurationError(f"the kind of job {kind!r} is registered twice in format {format}")
        self._job_kinds[kind, format] = Kind(kind, format, work, at_once, schedule, on_ending)

    def run_jobs(self, times: Times | None = None) -> None:
        """Run jobs of the registered kinds in the current event loop, until `close` or `stop_jobs`.

        Args:
            times: how often is looked for jobs, and how soon a process counts as dead.
        """
        if self._runner is None:
            submit, kinds = self._writer.submit, self._job_kinds
            self._runner = Runner(self.database, submit, kinds, self._checkpoints, times or Times())
            self._runner.start()

    async def stop_jobs(self, seconds: float = _STOP_SECONDS) -> None:
        """Interrupt the running jobs. Another process goes on with them at once, or the next start of this one."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.stop(seconds)
            await self._close_checkpoints()

    async def close(self, deadline_seconds: float = 4.0) -> None:
        await self.stop_jobs(min(_STOP_SECONDS, deadline_seconds / 2))
        await super().close(deadline_seconds)

    async def _close_checkpoints(self) -> None:
        """Close the store of the steps, for a few seconds at most: what follows keeps the queued writes."""
        # Not cancelled: its threads would go on all the same.
        closing = asyncio.create_task(self._checkpoints.close(), name="close-checkpoints")
        await asyncio.wait([closing], timeout=_CHECKPOINT_SECONDS)
        if not closing.done():
            logger.warning("the store of the steps of jobs was not closed within %s seconds", _CHECKPOINT_SECONDS)
        elif (error := closing.exception()) is not None:
            logger.error("the store of the steps of jobs was not closed", exc_info=error)

    async def start_job(
        self,
        kind: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        format: int | None = None,  # noqa: A002  the name of the column
    ) -> Job:
        """Start a job of the acting user or the system; returns as soon as it is stored.

        Args:
            kind: a registered kind.
            arguments: JSON for the function of the kind.
            key: what the job is for. While a job of this kind and key is not finished, that job is returned, and no
                other one is started.
            format: of the arguments. The newest by default, for which a process of an older version does not look.

        Raises:
            ConfigurationError: the kind is not registered, or not in this format.
            Forbidden: a visitor acts.
            NotFound: the acting user does not exist.
        """
        formats = [number for name, number in self._job_kinds if name == kind]
        if not formats:
            raise ConfigurationError(f"the kind of job {kind!r} is not registered")
        if format is not None and format not in formats:
            raise ConfigurationError(f"the kind of job {kind!r} is not registered in format {format}")
        actor = acting_user.get()
        if actor is None:
            raise Forbidden("a job needs a user")
        job = Job(
            id=str(uuid.uuid4()),
            kind=kind,
            format=max(formats) if format is None else format,
            state="waiting",
            created_at=utc_now(),
            key=None if key is None else clean_text(key),
            owner=None if actor is SYSTEM else actor,
            arguments=clean_json(dict(arguments or {})),
        )
        dialect = self.database.dialect
        started: Job = await self._writer.submit(lambda connection: rows.start(connection, dialect, job))
        self._note()
        return started

    async def get_job(self, job_id: str) -> Job | None:
        """The job, with its progress; None if it does not exist or belongs to somebody else."""
        known, actor = known_id(job_id), acting_user.get()
        if known is None:
            return None
        return await self.database.query(lambda connection: rows.find(connection, known, actor))

    async def list_jobs(
        self,
        *,
        kinds: Sequence[str] = (),
        states: Sequence[JobState] = (),
        key: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> JobPage:
        """The jobs that the acting user may see, newest first.

        Args:
            kinds, states: only these; all by default.
            key: only jobs that were started with this key.
            cursor: the `next_cursor` of the page before.
            limit: of the page, at most MOST_JOBS.

        Raises:
            InvalidRecord: the cursor or the limit is not valid.
        """
        if not 1 <= limit <= MOST_JOBS:
            raise InvalidRecord(f"a page has from 1 to {MOST_JOBS} jobs")
        actor = acting_user.get()
        return await self.database.query(
            lambda connection: rows.page(
                connection, actor, kinds=kinds, states=states, key=key, cursor=cursor, limit=limit
            )
        )

    async def cancel_job(self, job_id: str) -> Job:
        """Cancel the job. One that runs ends within seconds; a finished one stays as it is.

        Raises:
            InvalidRecord: this is not an id.
            NotFound: the job does not exist, or belongs to somebody else.
        """
        known, actor, moment = clean_id(job_id, "id of a job"), acting_user.get(), utc_now()
        cancelled: tuple[Job, bool] = await self._writer.submit(
            repeatable(
                lambda connection: rows.cancel(connection, known, actor, moment),
                lambda connection: rows.have_ended(connection, [known], moment),
            )
        )
        job, has_ended = cancelled
        self._note()
        if has_ended:
            await follow(self._job_kinds, job)
        return job

    async def retry_job(self, job_id: str) -> Job:
        """Let a failed or cancelled job go on at the step that it failed in.

        Raises:
            NotFound: the job does not exist, or belongs to somebody else.
            InvalidRecord: the job is done, or another job for the same key has been started meanwhile.
        """
        known, actor = clean_id(job_id, "id of a job"), acting_user.get()
        job: Job = await self._writer.submit(lambda connection: rows.retry(connection, known, actor))
        self._note()
        return job

    async def forget_jobs(self, before: str) -> int:
        """Delete the jobs that ended before this time (ISO 8601), with their files; returns how many.

        Raises:
            Forbidden: a user acts.
            InvalidRecord: the time is missing or not valid.
        """
        demand_system(acting_user.get(), "forgetting jobs")
        moment = clean_time(before, "time")
        if moment is None:
            raise InvalidRecord("forgetting jobs needs a time")
        count = 0
        while True:
            ids, keys = await self._writer.submit(
                lambda connection: rows.forget(connection, moment, _FORGOTTEN_AT_ONCE)
            )
            if keys:
                self.file_deleter.note()
            count += len(ids)
            if len(ids) < _FORGOTTEN_AT_ONCE:
                return count

    def _note(self) -> None:
        if self._runner is not None:
            self._runner.note()
