"""What the owner of an assistant does with its trainings: start, cancel, list. `source_acts` has the data sources.

The pages and the command line share these acts. Each one requires that the acting user may edit the assistant, and then
acts as the system, because the data layer gives knowledge to nobody else. In the knowledge, an assistant is its slug.

The row of a training is its lock: the database allows one that runs for each assistant. Its job has the id of the
training as its key. A process that dies between the two, and a job that ends without its training, leave a row that
nobody works on: it is ended as soon as somebody lists the trainings or starts another one, and within the hour.

If the assistant trains on change, a change starts a training. While one runs, none is started: when it has ended, it
looks for sources that changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from datalayer.blobs import BlobStore
from datalayer.cleaning import utc_now
from datalayer.errors import AlreadyExists, Forbidden, NotFound
from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.assistants import Assistant
from datalayer.records.jobs import Job, JobPage, JobState
from datalayer.records.knowledge import RUNNING, DataSource, KnowledgeState, Training

TRAINING = "training"
"""The kind of the jobs that train."""
_JOB_FOLLOWS_SECONDS = 60.0
_ENDED_WITHOUT = "No process trains this any more: its job is lost."


class KnowledgeActs(Protocol):
    """The part of the data layer that the acts use."""

    @property
    def blobs(self) -> BlobStore: ...
    async def get_assistant(self, slug: str, version: int | None = None) -> Assistant: ...
    async def put_source(
        self,
        source: DataSource,
        content: bytes | None = None,
        mime: str | None = None,
        replaces: str | None = None,
    ) -> DataSource: ...
    async def change_source(
        self,
        source_id: str,
        change: Callable[[DataSource], DataSource],
        content: bytes | None = None,
        mime: str | None = None,
        replaces: str | None = None,
    ) -> DataSource: ...
    async def get_source(self, source_id: str) -> DataSource | None: ...
    async def find_source(
        self, assistant_id: str, kind: str, *, title: str | None = None, address: str | None = None
    ) -> DataSource | None: ...
    async def knowledge_states(self, assistant_ids: Sequence[str]) -> dict[str, KnowledgeState]: ...
    async def delete_source(self, source_id: str) -> None: ...
    async def start_training(self, assistant_id: str, started_by: str | None = None) -> Training: ...
    async def cancel_training(self, training_id: str) -> bool: ...
    async def fail_training(self, training_id: str, error: str, failure: dict[str, Any] | None = None) -> bool: ...
    async def get_training(self, training_id: str) -> Training | None: ...
    async def list_trainings(self, assistant_id: str, limit: int = 50) -> list[Training]: ...
    async def start_job(
        self, kind: str, arguments: Mapping[str, Any] | None = None, *, key: str | None = None
    ) -> Job: ...
    async def cancel_job(self, job_id: str) -> Job: ...
    async def list_jobs(
        self,
        *,
        kinds: Sequence[str] = (),
        states: Sequence[JobState] = (),
        key: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> JobPage: ...


async def demand_editable(layer: KnowledgeActs, slug: str) -> Assistant:
    """The assistant, which the acting user may edit.

    Raises:
        NotFound: there is no such assistant, or the acting user may not use it.
        Forbidden: the acting user may use it, but not edit it.
    """
    assistant = await layer.get_assistant(slug)
    if not assistant.may_edit:
        raise Forbidden(f"only its owner and admins change the knowledge of the assistant {slug!r}")
    return assistant


async def start_training(layer: KnowledgeActs, slug: str, started_by: str | None = None) -> Training:
    """Start a training, which a server runs as a job.

    Args:
        layer: stores it.
        slug: the assistant.
        started_by: the id of the user who starts it.

    Raises:
        AlreadyExists: another training of the assistant runs.
        NotFound: there is no such assistant.
        Forbidden: the acting user may not edit it.
    """
    await demand_editable(layer, slug)
    with acting_as(SYSTEM):
        try:
            training = await layer.start_training(slug, started_by)
        except AlreadyExists:
            if not await end_if_lost(layer, slug):
                raise
            training = await layer.start_training(slug, started_by)
        # Of the system, because a job is deleted with its owner.
        await layer.start_job(TRAINING, {"training": training.id, "assistant": slug}, key=training.id)
        return training


async def train_after_change(layer: KnowledgeActs, slug: str, started_by: str | None = None) -> Training | None:
    """Start a training if the assistant trains on change and has a source; None if it does not, or if one runs.

    Raises:
        NotFound: there is no such assistant.
        Forbidden: the acting user may not edit it.
    """
    assistant = await demand_editable(layer, slug)
    if assistant.settings.training != "on_change":
        return None
    with acting_as(SYSTEM):
        if not (await layer.knowledge_states([slug]))[slug].sources:
            return None
    try:
        return await start_training(layer, slug, started_by)
    except AlreadyExists:
        return None


async def cancel_training(layer: KnowledgeActs, slug: str) -> Training:
    """Cancel the training of an assistant that runs; returns it. The current one still answers.

    Raises:
        NotFound: there is no such assistant, or no training of it runs.
        Forbidden: the acting user may not edit the assistant.
    """
    await demand_editable(layer, slug)
    with acting_as(SYSTEM):
        running = await _running(layer, slug)
        if running is None or not await layer.cancel_training(running.id):
            raise NotFound(f"no training of the assistant {slug!r} runs")
        job = await _job_of(layer, running)
        if job is not None:
            await layer.cancel_job(job.id)
        return replace(running, state="cancelled")


async def list_trainings(layer: KnowledgeActs, slug: str, limit: int = 50) -> list[Training]:
    """The newest trainings of an assistant, newest first. One that nobody works on any more has failed.

    Raises:
        NotFound: there is no such assistant.
        Forbidden: the acting user may not edit it.
    """
    await demand_editable(layer, slug)
    with acting_as(SYSTEM):
        await end_if_lost(layer, slug)
        return await layer.list_trainings(slug, limit)


async def end_if_lost(layer: KnowledgeActs, slug: str) -> bool:
    """End the training of an assistant that is running without a job; whether there was one. For the system."""
    running = await _running(layer, slug)
    if running is None:
        return False
    job = await _job_of(layer, running)
    if job is None and seconds_since(running.created_at) < _JOB_FOLLOWS_SECONDS:
        return False
    if job is not None and not job.is_finished:
        return False
    if job is not None and job.state == "cancelled":
        return await layer.cancel_training(running.id)
    if job is not None and job.error:
        return await layer.fail_training(running.id, job.error, {"kind": "job", "values": {"reason": job.error}})
    return await layer.fail_training(running.id, _ENDED_WITHOUT, {"kind": "lost", "values": {}})


async def _running(layer: KnowledgeActs, slug: str) -> Training | None:
    return next((one for one in await layer.list_trainings(slug, 1) if one.state in RUNNING), None)


async def _job_of(layer: KnowledgeActs, training: Training) -> Job | None:
    found = (await layer.list_jobs(kinds=[TRAINING], key=training.id, limit=1)).jobs
    return found[0] if found else None


def seconds_since(moment: str) -> float:
    """The seconds from a stored time until now."""
    return (datetime.fromisoformat(utc_now()) - datetime.fromisoformat(moment)).total_seconds()
