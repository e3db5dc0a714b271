"""One job that runs in this process: its function, and what the function gets (`kinds.JobContext`)."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_json, clean_text, utc_in
from datalayer.history import file_outbox
from datalayer.jobs import claims
from datalayer.records.jobs import Job

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PROGRESS_SECONDS = 1.0

Operation = Callable[[AsyncConnection], Awaitable[Any]]

Submit = Callable[[Operation], Awaitable[Any]]
"""Runs an operation in a transaction, through the queue of writes."""


class Steps(Protocol):
    """The steps of one run of a job."""

    async def step(self, name: str, work: Callable[[], Awaitable[str]]) -> str:
        """The stored result of the job's next step, or that of `work`, which is then stored: JSON as text."""

    async def end(self, *, is_done: bool) -> None:
        """No further step comes in this run. If the job is done, its steps are deleted."""


OpenSteps = Callable[[str], Awaitable[Steps]]
"""Opens the steps of a new run of the job with this id, which goes on behind the steps that are stored."""


class Run:
    """The context of a job, until the job ends or is lost."""

    def __init__(self, job: Job, submit: Submit, open_steps: OpenSteps) -> None:
        self.job = job
        self.task: asyncio.Task[None] | None = None
        self.is_lost = False
        self.is_ending = False
        self.pause_seconds: float | None = None
        self.is_interruption = True
        self.cancelled_at: float | None = None
        self._submit = submit
        self._open_steps = open_steps
        self._steps: Steps | None = None
        self._shown_at = 0.0
        self._unshown: dict[str, Any] | None = None

    @property
    def job_id(self) -> str:
        return self.job.id

    @property
    def owner(self) -> str | None:
        return self.job.owner

    @property
    def arguments(self) -> Mapping[str, Any]:
        return self.job.arguments

    @property
    def attempt(self) -> int:
        return self.job.attempt

    @property
    def interruptions(self) -> int:
        return self.job.interruptions

    @property
    def cancelled(self) -> bool:
        return self.cancelled_at is not None

    async def progress(self, done: int, total: int | None = None, text: str | None = None) -> None:
        self._go_on()
        self._unshown = {"done": done, "total": total, "text": None if text is None else clean_text(text)}
        if time.monotonic() - self._shown_at >= _PROGRESS_SECONDS:
            progress = self.take_progress()
            await self._written(self._submit(lambda connection: claims.note(connection, self.job, **progress)))

    async def step(self, name: str, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        self._go_on()
        if self._steps is None:
            self._steps = await self._open_steps(self.job.id)

        async def work() -> str:
            return json.dumps(clean_json(await function(*args)), ensure_ascii=False)

        kept: T = json.loads(await self._steps.step(name, work))
        return kept

    async def keep_file(self, object_key: str, seconds: float) -> None:
        async def note(connection: AsyncConnection) -> bool:
            await file_outbox.announce(connection, object_key, None, utc_in(seconds))
            return await claims.note(connection, self.job, objectKey=object_key)

        await self._written(self._submit(note))

    async def end_steps(self, *, is_done: bool) -> None:
        """No further step comes in this run."""
        if self._steps is not None:
            await self._steps.end(is_done=is_done)

    def take_progress(self) -> dict[str, Any]:
        """The progress that is not stored yet."""
        taken, self._unshown, self._shown_at = self._unshown or {}, None, time.monotonic()
        return taken

    async def _written(self, written: Awaitable[bool]) -> None:
        if not await written:
            self.lose()
            self._go_on()

    def cancel(self) -> None:
        """Somebody cancelled the job."""
        if self.cancelled_at is None:
            self.cancelled_at = time.monotonic()

    def lose(self) -> None:
        """Another process has the job: this one must stop."""
        self.is_lost = True
        if self.task is not None:
            self.task.cancel()

    def _go_on(self) -> None:
        if self.cancelled or self.is_lost:
            raise asyncio.CancelledError
