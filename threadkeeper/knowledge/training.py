"""Trains an assistant: its sources become documents, chunks, vectors, and a training that answers.

`train` is safe to run again from the start, as after the end of its process: what it did is in the database. Documents
that were embedded before with the same settings are not embedded again. While documents are embedded, the next ones are
loaded; never more than a few are in memory.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from datalayer.concurrency import for_each
from datalayer.errors import BlobNotFound, DataLayerError, NotFound, SourceChanged
from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.knowledge import (
    FETCHED_KINDS,
    DataSource,
    SourceResult,
    Training,
    TrainingSettings,
)
from threadkeeper.knowledge.chunks import VERSION, ChunkSettings
from threadkeeper.knowledge.embedding.base import Embedded, EmbeddingError, EmbeddingPurpose, Embeds
from threadkeeper.knowledge.fetching.base import Fetches, FetchSettings
from threadkeeper.knowledge.fetching.options import load_options
from threadkeeper.knowledge.fetching.refreshing import name_of, open_fetcher, refreshed
from threadkeeper.knowledge.intake import Ended, Intake, step
from threadkeeper.knowledge.loaders.base import Taken
from threadkeeper.knowledge.loaders.formats import is_current
from threadkeeper.knowledge.loading import Load, LoadLimits, LoadRefused
from threadkeeper.knowledge.missing import NoKnowledge
from threadkeeper.knowledge.threshold import calibrated
from threadkeeper.knowledge.training_store import KnowledgeStore
from threadkeeper.knowledge.worker_process import EmbeddingWorker, WorkerFailed

logger = logging.getLogger(__name__)

_PROGRESS_SECONDS = 1.0
_PAUSES_SECONDS = (1.0, 5.0, 20.0, 60.0)


@dataclass(frozen=True, slots=True)
class KnowledgeSettings:
    """Args:
    chunks: how texts are cut.
    limits: of the load of a file.
    keep: how many successful trainings of an assistant are kept.
    fetching: the hosts, headers and limits of data sources that are fetched.
    """

    chunks: ChunkSettings = field(default_factory=ChunkSettings)
    limits: LoadLimits = field(default_factory=LoadLimits)
    keep: int = 3
    fetching: FetchSettings = field(default_factory=FetchSettings)


TrainingFailure = Literal["no_source", "nothing_loaded", "job"]


async def _nobody_waits(_training: Training) -> None: ...


async def _never() -> bool:
    return False


class TrainingFailed(Exception):
    """The training has ended without success; `str` is the reason, which is stored with it.

    Args:
        reason: in English.
        kind: of the failure; `failed_…` is its sentence.
    """

    def __init__(self, reason: str, kind: TrainingFailure = "job") -> None:
        super().__init__(reason)
        self.kind: TrainingFailure = kind


def _failure_of(error: Exception) -> dict[str, Any]:
    """The kind of a failure and its values, as they are stored: each kind has a sentence `failed_…`."""
    if isinstance(error, EmbeddingError):
        return {"kind": f"embedding_{error.kind}", "values": {"detail": error.detail}}
    if isinstance(error, TrainingFailed):
        return {"kind": error.kind, "values": {"reason": str(error)}}
    kind = "worker" if isinstance(error, WorkerFailed) else "job"
    return {"kind": kind, "values": {"reason": str(error)}}


class Trainer:
    """Trains with one embedding model.

    Args:
        worker: cuts texts into chunks.
        has_vector_search: whether `prepare_vectors` found pgvector.
        sources_at_once: how many sources are loaded at the same time.
        pauses: seconds to wait before each new try, when the embedding server is away.
        progress_seconds: between two calls of `progress` at least.
        embedder_for: gives the embedder of an assistant that has a model of its own. Raises NoKnowledge.
    """

    def __init__(
        self,
        store: KnowledgeStore,
        embedder: Embeds,
        worker: EmbeddingWorker,
        settings: KnowledgeSettings,
        *,
        has_vector_search: bool = False,
        sources_at_once: int = 3,
        pauses: Sequence[float] = _PAUSES_SECONDS,
        progress_seconds: float = _PROGRESS_SECONDS,
        embedder_for: Callable[[str], Awaitable[Embeds]] | None = None,
    ) -> None:
        self.store, self.embedder, self.worker, self.settings = store, embedder, worker, settings
        self.has_vector_search, self.pauses = has_vector_search, tuple(pauses)
        self.sources_at_once, self.progress_seconds = sources_at_once, progress_seconds
        self.embedder_for = embedder_for

    async def train(
        self,
        training_id: str,
        *,
        progress: Callable[[Training], Awaitable[None]] = _nobody_waits,
        cancelled: Callable[[], Awaitable[bool]] = _never,
    ) -> Training:
        """Run a training to its end, or go on with it; returns it as it has ended.

        Args:
            progress: is awaited after a source and after a batch of passages, every `progress_seconds` at most.
            cancelled: is asked before each batch; the training then ends as cancelled.

        Raises:
            TrainingFailed: it failed, which is stored; the current training still answers.
            DataLayerError: the database cannot be used; run it again.
        """
        with acting_as(SYSTEM):
            run = _Run(self, cancelled)
            try:
                await run.train(training_id, progress)
            except (EmbeddingError, NoKnowledge, WorkerFailed, TrainingFailed) as error:
                logger.error("the training %s failed: %s", training_id, error)
                await self.store.fail_training(training_id, str(error), _failure_of(error))
                raise TrainingFailed(str(error)) from error
            except Ended:
                pass
            ended = await self.store.get_training(training_id)
            if ended is None:
                raise TrainingFailed(f"there is no training {training_id} any more")
            logger.info("the training %s has ended: %s", training_id, ended.state)
            return ended


class _Run:
    """One run of a training."""

    def __init__(self, trainer: Trainer, cancelled: Callable[[], Awaitable[bool]]) -> None:
        self._store, self._embedder, self._worker = trainer.store, trainer.embedder, trainer.worker
        self._settings, self._pauses, self._cancelled = trainer.settings, trainer.pauses, cancelled
        self._embedder_for, self._chunks = trainer.embedder_for, trainer.settings.chunks
        self._has_vector_search, self._sources_at_once = trainer.has_vector_search, trainer.sources_at_once
        self._fetcher: Fetches | None = None
        self._training_id = ""
        self._purpose = EmbeddingPurpose()
        self._stored: TrainingSettings | None = None
        self._progress_seconds, self._told = trainer.progress_seconds, -math.inf

    async def train(self, training_id: str, progress: Callable[[Training], Awaitable[None]]) -> None:
        training = await self._store.get_training(training_id)
        if training is not None and training.state == "success":
            # Its process ended behind the swap, perhaps before the index was built.
            await self._store.index_vectors(training_id)
            await self._remove_old(training.assistant_id)
        if training is None or training.state not in ("new", "training"):
            raise Ended
        self._training_id = training_id
        self._purpose = EmbeddingPurpose(training.assistant_id, training.started_by)
        sources = await self._store.list_sources(training.assistant_id)
        if not sources:
            raise TrainingFailed("the assistant has no data source", "no_source")
        if self._embedder_for is not None:
            self._embedder = await self._embedder_for(training.assistant_id)
        if (window := self._embedder.model.window) is not None:
            self._chunks = replace(self._chunks, window=window)
        self._stored = await self._trained_with()
        if not await self._store.begin_training(training_id, self._stored, len(sources)):
            raise Ended
        before = await self._results_before(training.assistant_id)
        done = await self._store.trained_sources(training_id)

        async def waiting() -> AsyncIterator[DataSource]:
            for source in sources:
                if source.id not in done:
                    yield source

        async def tell() -> None:
            await self._tell(progress)

        intake = Intake(
            *(self._store, self._worker, training_id, self._stored, self._chunks),
            embed=self._embed,
            demand_going=self._end_if_cancelled,
            stored=tell,
        )

        async def work(source: DataSource) -> None:
            await self._train_source(source, intake, before)
            await tell()

        # The process that loads a small file takes longer to start than the file to embed.
        loading = asyncio.create_task(for_each(waiting(), work, concurrency=self._sources_at_once))
        embedding = asyncio.create_task(intake.run())
        try:
            await asyncio.wait((loading, embedding), return_when=asyncio.FIRST_COMPLETED)
            await (embedding if embedding.done() else loading)
        finally:
            for task in (loading, embedding):
                task.cancel()
            await asyncio.gather(loading, embedding, return_exceptions=True)
            if self._fetcher is not None:
                await self._fetcher.close()
        await self._finish(training.assistant_id)

    async def _tell(self, progress: Callable[[Training], Awaitable[None]]) -> None:
        """Tell how far the training is, unless that was told just before."""
        now = asyncio.get_running_loop().time()
        if now < self._told + self._progress_seconds:
            return
        self._told = now
        if (current := await self._store.get_training(self._training_id)) is not None:
            await progress(current)

    async def _trained_with(self) -> TrainingSettings:
        """The settings as they are stored. A server whose dimensions are not known is asked once."""
        model, chunks = self._embedder.model, self._chunks
        if (dimensions := model.dimensions) is None:
            dimensions = (await self._embed(["dimensions"])).vectors.shape[1]
        return TrainingSettings(model.name, dimensions, chunks.tokens, chunks.overlap, VERSION, chunks.window)

    async def _results_before(self, assistant_id: str) -> tuple[int, dict[str, tuple[SourceResult, Any]]]:
        """The number of the current training and what it took, if it has the settings of this one."""
        current = await self._store.current_training(assistant_id)
        if current is None or current.settings != self._stored:
            return 0, {}
        return current.number, await self._store.trained_sources(current.id)

    async def _train_source(
        self, source: DataSource, intake: Intake, before: tuple[int, dict[str, tuple[SourceResult, Any]]]
    ) -> None:
        number, results = before
        fetch: dict[str, Any] | None = None
        if source.kind in FETCHED_KINDS:
            if (found := await self._refreshed(source)) is None:
                return
            source, fetch = found
        known, options = results.get(source.id, (None, None))
        if (
            (known is not None and known.is_of(source, options))
            and known.refused is None
            and known.loader is not None
            and is_current(known.loader)
            and await step(self._store.take_source(self._training_id, source.id, number)) == known.documents
        ):
            await self._store.keep_source_result(self._training_id, replace(known, fetch=fetch), source.options)
            return
        try:
            try:
                source, content = await self._read(source.id)
            except BlobNotFound:
                if source.kind not in FETCHED_KINDS:
                    raise
                # Its file was lost. Without it, the server is not asked whether the content has changed.
                if (found := await self._refreshed(replace(source, object_key=None, fetched=None))) is None:
                    return
                source, fetch = found
                source, content = await self._read(source.id)
        except (NotFound, BlobNotFound) as error:
            # It was deleted after the training began, or its file was lost.
            await self._keep_result(source, "deleted" if isinstance(error, NotFound) else "missing", fetch=fetch)
            return
        options = load_options(source.kind, source.options)
        load = Load(source.kind, name_of(source), content, self._settings.limits, **options)  # type: ignore[arg-type]
        refused, count = None, 0
        try:
            count = await intake.take(source, load)
        except LoadRefused as refusal:
            refused = refusal.refusal
        await self._keep_result(source, refused, load.taken, documents=count, fetch=fetch)

    async def _refreshed(self, source: DataSource) -> tuple[DataSource, dict[str, Any]] | None:
        """The source with its content, and what to tell of the fetch; None if there is none, which is stored."""
        self._fetcher = self._fetcher or open_fetcher(self._settings.fetching)
        try:
            stored, fetch = await refreshed(self._store, self._fetcher, source)
        except SourceChanged:
            is_there = await self._store.get_source(source.id) is not None
            await self._keep_result(source, "changed" if is_there else "deleted")
            return None
        if stored.object_key is None:
            await self._keep_result(stored, "not_fetched", fetch=fetch)
            return None
        return stored, fetch

    async def _read(self, source_id: str) -> tuple[DataSource, bytes]:
        """The source as it is now, with its file. Raises NotFound or BlobNotFound."""
        try:
            return await self._store.read_source(source_id)
        except BlobNotFound:
            # Its file was replaced after its row was read; the row names the new one.
            return await self._store.read_source(source_id)

    async def _keep_result(
        self,
        source: DataSource,
        refused: str | None,
        taken: Taken | None = None,
        *,
        documents: int = 0,
        fetch: dict[str, Any] | None = None,
    ) -> None:
        loader = taken.loader if taken is not None else ""
        found = asdict(taken) if taken is not None and loader else None
        failed = int(refused is not None and refused != "deleted")
        told = (source.sha256, loader or None, found, refused, documents, failed, fetch)
        result = SourceResult(source.id, source.title, *told)
        await self._store.keep_source_result(self._training_id, result, source.options)

    async def _embed(self, texts: Sequence[str]) -> Embedded:
        """Embed passages; a server that is away is asked again after pauses. Raises EmbeddingError."""
        for pause in (*self._pauses, None):
            try:
                return await self._embedder.embed(texts, "passage", self._purpose)
            except EmbeddingError as error:
                if pause is None or not error.is_temporary:
                    raise
                logger.warning(
                    "the training %s waits %s s: %s (%s)", self._training_id, pause, error.kind, error.detail
                )
                await self._end_if_cancelled()
                await asyncio.sleep(pause)
        raise AssertionError

    async def _end_if_cancelled(self) -> None:
        """Raises Ended if somebody cancelled the training."""
        if await self._cancelled():
            await self._store.cancel_training(self._training_id)
            raise Ended from None

    async def _finish(self, assistant_id: str) -> None:
        training = await self._store.get_training(self._training_id)
        if training is None or training.state != "training":
            raise Ended
        background, threshold = await calibrated(
            self._store, self._embedder, training, self._purpose, has_vector_search=self._has_vector_search
        )
        if not background.words.passages:
            raise TrainingFailed("nothing could be loaded of any data source", "nothing_loaded")
        if not await self._store.finish_training(self._training_id, threshold, background.packed()):
            raise Ended
        await self._remove_old(assistant_id)

    async def _remove_old(self, assistant_id: str) -> None:
        try:
            await self._store.remove_old_trainings(assistant_id, self._settings.keep)
        except DataLayerError as error:
            logger.warning("old trainings of the assistant %s are not removed: %s", assistant_id, error)
