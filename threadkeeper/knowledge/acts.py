"""What the owner of an assistant does with its knowledge: add, replace and remove data sources, train, cancel.

The pages and the command line share these acts. Each one requires that the acting user may edit the assistant, and then
acts as the system, because the data layer gives knowledge to nobody else. In the knowledge, an assistant is its slug.

The row of a training is its lock: the database allows one that runs for each assistant. Its job has the id of the
training as its key. A process that dies between the two, and a job that ends without its training, leave a row that
nobody works on: it is ended as soon as somebody lists the trainings or starts another one, and within the hour.

If the assistant trains on change, a change starts a training. While one runs, none is started: when it has ended, it
looks for sources that changed meanwhile.
"""

from __future__ import annotations

import hashlib
import mimetypes
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Protocol

from datalayer.blobs import BlobStore
from datalayer.cleaning import utc_now
from datalayer.errors import AlreadyExists, BlobNotFound, Forbidden, NotFound
from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.assistants import Assistant
from datalayer.records.jobs import Job, JobPage, JobState
from datalayer.records.knowledge import RUNNING, DataSource, KnowledgeState, Training
from threadkeeper.knowledge.checking import check_file
from threadkeeper.knowledge.loaders.base import Taken
from threadkeeper.knowledge.loaders.formats import SourceKind
from threadkeeper.knowledge.loading import LoadLimits

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
    async def list_sources(self, assistant_id: str) -> list[DataSource]: ...
    async def knowledge_states(self, assistant_ids: Sequence[str]) -> dict[str, KnowledgeState]: ...
    async def delete_source(self, source_id: str) -> None: ...
    async def start_training(self, assistant_id: str, started_by: str | None = None) -> Training: ...
    async def cancel_training(self, training_id: str) -> bool: ...
    async def fail_training(self, training_id: str, error: str) -> bool: ...
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


@dataclass(frozen=True, slots=True)
class NewSource:
    """A file that is to be a data source.

    Args:
        kind: what the file is to the source.
        title: the name of the file. Its ending decides between formats of text.
        content: of the file.
        options: of a datasheet, as in `LoadOptions`: columns, record_id, suggestion, sheet.
    """

    kind: SourceKind
    title: str
    content: bytes = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceChange:
    """What became of a file: the source as it is stored, and what was done.

    `taken` says what of the file is taken; it is None for a table, which is loaded in the training, and for an
    unchanged source. `training` is the one that the change started.
    """

    source: DataSource
    done: Literal["added", "replaced", "unchanged"]
    taken: Taken | None = None
    training: Training | None = None


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


# Data sources


async def put_source(
    layer: KnowledgeActs,
    slug: str,
    new: NewSource,
    limits: LoadLimits,
    *,
    source_id: str | None = None,
    replaces: str | None = None,
    trains: bool = True,
    started_by: str | None = None,
) -> SourceChange:
    """Check a file and store it as a data source; it replaces the source of the same kind and title.

    Args:
        layer: stores it.
        slug: the assistant.
        new: the file.
        limits: of the check, as of a training.
        source_id: the source that it replaces, whatever its title is.
        replaces: the checksum of the file that the new one is based on; None replaces any.
        trains: start a training if the assistant trains on change. After the last of several changes,
            `train_after_change` does so.
        started_by: the id of the user who starts that training.

    Raises:
        SourceChanged: the stored file is another than `replaces`.
        LoadRefused: the file cannot be loaded; `wording.say_refused` says why.
        NotFound: there is no such assistant, or it has no such source.
        Forbidden: the acting user may not edit the assistant.
        BlobError: the file could not be stored, or the stored one not looked for.
    """
    await demand_editable(layer, slug)
    title = " ".join(new.title.split())
    options = stored_options(new.options)
    with acting_as(SYSTEM):
        sources = await layer.list_sources(slug)
        old: DataSource | None = None
        if source_id is not None:
            old = demand_source(sources, slug, source_id)
        else:
            old = next((one for one in sources if (one.kind, one.title) == (new.kind, title)), None)
        made = old or DataSource(str(uuid.uuid4()), slug, new.kind, title)
        made = replace(made, kind=new.kind, title=title, options=options)
        is_same = old is not None and old == replace(made, sha256=hashlib.sha256(new.content).hexdigest())
        if old is not None and is_same and await _has_file(layer, old):
            return SourceChange(old, "unchanged")
        taken = await check_file(new.kind, title, new.content, limits, options)
        stored = await layer.put_source(made, new.content, mimetypes.guess_type(title)[0], replaces)
    started = await train_after_change(layer, slug, started_by) if trains else None
    return SourceChange(stored, "added" if old is None else "replaced", taken, started)


async def _has_file(layer: KnowledgeActs, source: DataSource) -> bool:
    """Whether the file of a source is in the store; one byte of it is asked for."""
    if source.object_key is None:
        return False
    try:
        async with await layer.blobs.open(source.object_key, 0, 1):
            return True
    except BlobNotFound:
        return False


async def change_source(
    layer: KnowledgeActs,
    slug: str,
    source_id: str,
    *,
    title: str | None = None,
    options: Mapping[str, Any] | None = None,
    started_by: str | None = None,
) -> DataSource:
    """Give a data source another title, or a datasheet other columns; its file stays.

    Other columns start a training if the assistant trains on change; `started_by` is the id of the user who starts it.

    Raises:
        InvalidRecord: the title is empty.
        NotFound: there is no such assistant, or it has no such source.
        Forbidden: the acting user may not edit the assistant.
    """
    await demand_editable(layer, slug)
    with acting_as(SYSTEM):
        source = demand_source(await layer.list_sources(slug), slug, source_id)
        if title is not None:
            source = replace(source, title=" ".join(title.split()))
        if options is not None:
            source = replace(source, options=stored_options(options))
        changed = await layer.put_source(source)
    if options is not None:
        await train_after_change(layer, slug, started_by)
    return changed


def stored_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they are read again: what is not chosen is left out, and JSON has no tuples."""
    return {name: list(one) if isinstance(one, tuple) else one for name, one in options.items() if one}


async def remove_source(
    layer: KnowledgeActs, slug: str, source_id: str, *, trains: bool = True, started_by: str | None = None
) -> Training | None:
    """Delete a data source. Nothing of it is found any more, at once. Returns the training that this started.

    `trains` and `started_by` are those of `put_source`.

    Raises:
        NotFound: there is no such assistant, or it has no such source.
        Forbidden: the acting user may not edit the assistant.
    """
    await demand_editable(layer, slug)
    with acting_as(SYSTEM):
        demand_source(await layer.list_sources(slug), slug, source_id)
        await layer.delete_source(source_id)
    return await train_after_change(layer, slug, started_by) if trains else None


def demand_source(sources: Sequence[DataSource], slug: str, source_id: str) -> DataSource:
    """The source of an assistant. Raises NotFound if it has none of this id."""
    found = next((one for one in sources if one.id == source_id), None)
    if found is None:
        raise NotFound(f"the assistant {slug!r} has no data source {source_id}")
    return found


# Trainings


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
    return await layer.fail_training(running.id, (job.error if job else None) or _ENDED_WITHOUT)


async def _running(layer: KnowledgeActs, slug: str) -> Training | None:
    return next((one for one in await layer.list_trainings(slug, 1) if one.state in RUNNING), None)


async def _job_of(layer: KnowledgeActs, training: Training) -> Job | None:
    found = (await layer.list_jobs(kinds=[TRAINING], key=training.id, limit=1)).jobs
    return found[0] if found else None


def seconds_since(moment: str) -> float:
    """The seconds from a stored time until now."""
    return (datetime.fromisoformat(utc_now()) - datetime.fromisoformat(moment)).total_seconds()
