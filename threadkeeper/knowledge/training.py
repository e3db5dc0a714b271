"""Trains an assistant: its sources become documents, chunks, vectors, and a training that answers.

`train` is safe to run again from the start, as after the end of its process: what it did is in the database. Documents
that were embedded before with the same settings are not embedded again. While one document is embedded, the next ones
are loaded; never more than a few are in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from datalayer.concurrency import for_each
from datalayer.errors import BlobNotFound, DataLayerError, NotFound
from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.knowledge import (
    DataSource,
    NewDocument,
    SourceResult,
    Training,
    TrainingSettings,
)
from threadkeeper.knowledge.chunks import VERSION, Chunk, ChunkSettings, has_headings
from threadkeeper.knowledge.embedding.base import EmbeddingError, EmbeddingPurpose, Embeds
from threadkeeper.knowledge.loaders.base import LoadedDocument
from threadkeeper.knowledge.loaders.formats import is_current
from threadkeeper.knowledge.loading import Load, LoadLimits, LoadRefused
from threadkeeper.knowledge.preparing import WaitingDocument, cleaned, fingerprint_of, passage_of, words_of
from threadkeeper.knowledge.retrieval.retriever import PassageStore
from threadkeeper.knowledge.threshold import calibrated
from threadkeeper.knowledge.worker_process import EmbeddingWorker, WorkerFailed

logger = logging.getLogger(__name__)

_WINDOWS_AT_ONCE = 64
_WAITING_DOCUMENTS = 8
_PAUSES_SECONDS = (1.0, 5.0, 20.0, 60.0)


class KnowledgeStore(PassageStore, Protocol):
    """The part of the data layer that a training uses: `datalayer.knowledge`."""

    async def get_training(self, training_id: str) -> Training | None: ...
    async def list_sources(self, assistant_id: str) -> list[DataSource]: ...
    async def read_source(self, source_id: str) -> tuple[DataSource, bytes]: ...
    async def begin_training(self, training_id: str, settings: TrainingSettings, expected_sources: int) -> bool: ...
    async def fail_training(self, training_id: str, error: str) -> bool: ...
    async def cancel_training(self, training_id: str) -> bool: ...
    async def finish_training(self, training_id: str, threshold: float, word_counts: bytes) -> bool: ...
    async def trained_sources(self, training_id: str) -> dict[str, tuple[SourceResult, Any]]: ...
    async def keep_source_result(self, training_id: str, result: SourceResult, options: dict[str, Any]) -> None: ...
    async def take_source(self, training_id: str, source_id: str, number: int) -> int: ...
    async def take_document(self, training_id: str, source_id: str, key: str, fingerprint: str) -> bool: ...
    async def keep_document(self, training_id: str, document: NewDocument) -> None: ...
    async def remove_old_trainings(self, assistant_id: str, keep: int = 3) -> int: ...


@dataclass(frozen=True, slots=True)
class KnowledgeSettings:
    """Args:
    chunks: how texts are cut.
    limits: of the load of a file.
    keep: how many successful trainings of an assistant are kept.
    """

    chunks: ChunkSettings = field(default_factory=ChunkSettings)
    limits: LoadLimits = field(default_factory=LoadLimits)
    keep: int = 3


async def _nobody_waits(_training: Training) -> None: ...


async def _never() -> bool:
    return False


class TrainingFailed(Exception):
    """The training has ended without success; `str` is the reason, which is stored with it."""


class Trainer:
    """Trains with one embedding model.

    Args:
        worker: cuts texts into chunks.
        has_vector_search: whether `prepare_vectors` found pgvector.
        sources_at_once: how many sources are loaded at the same time.
        pauses: seconds to wait before each new try, when the embedding server is away.
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
    ) -> None:
        self.store, self.embedder, self.worker, self.settings = store, embedder, worker, settings
        self.has_vector_search, self.pauses = has_vector_search, tuple(pauses)
        self.sources_at_once = sources_at_once

    async def train(
        self,
        training_id: str,
        *,
        progress: Callable[[Training], Awaitable[None]] = _nobody_waits,
        cancelled: Callable[[], Awaitable[bool]] = _never,
    ) -> Training:
        """Run a training to its end, or go on with it; returns it as it has ended.

        Args:
            progress: is awaited after each source.
            cancelled: is asked before each document; the training then ends as cancelled.

        Raises:
            TrainingFailed: it failed, which is stored; the current training still answers.
            DataLayerError: the database cannot be used; run it again.
        """
        with acting_as(SYSTEM):
            run = _Run(self, cancelled)
            try:
                await run.train(training_id, progress)
            except (EmbeddingError, WorkerFailed, TrainingFailed) as error:
                logger.error("the training %s failed: %s", training_id, error)
                await self.store.fail_training(training_id, str(error))
                raise TrainingFailed(str(error)) from error
            except _Ended:
                logger.info("the training %s was cancelled", training_id)
            ended = await self.store.get_training(training_id)
            if ended is None:
                raise TrainingFailed(f"there is no training {training_id} any more")
            return ended


class _Ended(Exception):
    """The training does not run any more."""


class _Run:
    """One run of a training."""

    def __init__(self, trainer: Trainer, cancelled: Callable[[], Awaitable[bool]]) -> None:
        self._store, self._embedder, self._worker = trainer.store, trainer.embedder, trainer.worker
        self._settings, self._pauses, self._cancelled = trainer.settings, trainer.pauses, cancelled
        self._has_vector_search, self._sources_at_once = trainer.has_vector_search, trainer.sources_at_once
        self._training_id = ""
        self._purpose = EmbeddingPurpose()
        self._stored: TrainingSettings | None = None

    async def train(self, training_id: str, progress: Callable[[Training], Awaitable[None]]) -> None:
        training = await self._store.get_training(training_id)
        if training is None or training.state not in ("new", "training"):
            raise _Ended
        self._training_id = training_id
        self._purpose = EmbeddingPurpose(training.assistant_id, training.started_by)
        sources = await self._store.list_sources(training.assistant_id)
        if not sources:
            raise TrainingFailed("the assistant has no data source")
        self._stored = await self._trained_with()
        if not await self._store.begin_training(training_id, self._stored, len(sources)):
            raise _Ended
        before = await self._results_before(training.assistant_id)
        done = await self._store.trained_sources(training_id)

        async def waiting() -> AsyncIterator[DataSource]:
            for source in sources:
                if source.id not in done:
                    yield source

        async def work(source: DataSource) -> None:
            await self._train_source(source, before)
            current = await self._store.get_training(training_id)
            if current is not None:
                await progress(current)

        # The process that loads a small file takes longer to start than the file to embed.
        await for_each(waiting(), work, concurrency=self._sources_at_once)
        await self._finish(training.assistant_id)

    async def _trained_with(self) -> TrainingSettings:
        """The settings as they are stored. A server whose dimensions are not known is asked once."""
        model, chunks = self._embedder.model, self._settings.chunks
        dimensions = model.dimensions
        if dimensions is None:
            dimensions = (await self._embed(["dimensions"])).vectors.shape[1]
        return TrainingSettings(model.name, dimensions, chunks.tokens, chunks.overlap, VERSION, chunks.window)

    async def _results_before(self, assistant_id: str) -> tuple[int, dict[str, tuple[SourceResult, Any]]]:
        """The number of the current training and what it took, if it has the settings of this one."""
        current = await self._store.current_training(assistant_id)
        if current is None or current.settings != self._stored:
            return 0, {}
        return current.number, await self._store.trained_sources(current.id)

    async def _train_source(self, source: DataSource, before: tuple[int, dict[str, tuple[SourceResult, Any]]]) -> None:
        number, results = before
        known, options = results.get(source.id, (None, None))
        if (
            known is not None
            and (known.sha256, options) == (source.sha256, source.options)
            and known.refused is None
            and known.loader is not None
            and is_current(known.loader)
            and await self._step(self._store.take_source(self._training_id, source.id, number)) == known.documents
        ):
            await self._store.keep_source_result(self._training_id, known, source.options)
            return
        try:
            _, content = await self._store.read_source(source.id)
        except (NotFound, BlobNotFound):
            # It was deleted after the training began.
            await self._keep_result(source, None, None, "deleted", 0)
            return
        options = {name: tuple(value) if isinstance(value, list) else value for name, value in source.options.items()}
        load = Load(source.kind, source.title, content, self._settings.limits, **options)  # type: ignore[arg-type]
        refused, count = None, 0
        try:
            count = await self._train_documents(source, load)
        except LoadRefused as refusal:
            refused = refusal.refusal
        taken = asdict(load.taken) if load.taken.loader else None
        await self._keep_result(source, load.taken.loader or None, taken, refused, count)

    async def _keep_result(
        self, source: DataSource, loader: str | None, taken: Any, refused: str | None, documents: int
    ) -> None:
        result = SourceResult(
            source.id, source.title, source.sha256, loader, taken, refused, documents, int(refused is not None)
        )
        await self._store.keep_source_result(self._training_id, result, source.options)

    async def _train_documents(self, source: DataSource, load: Load) -> int:
        """Embed and store the documents of a file while further ones are loaded; gives their number.

        Raises:
            LoadRefused: nothing, or nothing more, could be loaded.
        """
        waiting: asyncio.Queue[WaitingDocument | None] = asyncio.Queue(_WAITING_DOCUMENTS)
        count = 0

        async def load_all() -> None:
            nonlocal count
            documents = load.documents()
            try:
                async for document in documents:
                    count += 1
                    if (one := await self._prepared(source, document)) is not None:
                        await waiting.put(one)
            finally:
                await documents.aclose()
                await waiting.put(None)

        loading = asyncio.create_task(load_all())
        try:
            batch: list[WaitingDocument] = []
            while (one := await waiting.get()) is not None:
                batch.append(one)
                if sum(len(each.windows) for each in batch) >= _WINDOWS_AT_ONCE or waiting.empty():
                    await self._keep(batch)
                    batch = []
            await self._keep(batch)
            await loading
        finally:
            if not loading.done():
                loading.cancel()
                # Nobody takes from the queue any more, and the task puts its end into it.
                while not waiting.empty():
                    waiting.get_nowait()
                await asyncio.gather(loading, return_exceptions=True)
        return count

    async def _prepared(self, source: DataSource, document: LoadedDocument) -> WaitingDocument | None:
        """A document that must be embedded; None if it was embedded before, and is taken as it is."""
        await self._end_if_cancelled()
        document = cleaned(document)
        title = document.title or source.title
        print_ = fingerprint_of(document, title, self._stored)
        key = document.key
        if await self._step(self._store.take_document(self._training_id, source.id, key, print_)):
            return None
        settings = self._settings.chunks
        asked = {
            "do": "chunk",
            "text": document.text,
            "tokens": settings.tokens,
            "overlap": settings.overlap,
            "window": settings.window,
            "markdown": source.kind == "file" and has_headings(document.text),
        }
        found, _ = await self._worker.ask(asked)
        chunks = tuple(
            Chunk(start, end, tokens, tuple((begin, stop) for begin, stop in windows))
            for start, end, tokens, windows in found
        )
        return WaitingDocument(source.id, document, title, print_, chunks)

    async def _keep(self, batch: Sequence[WaitingDocument]) -> None:
        """Embed the documents together and store them."""
        if not batch:
            return
        texts = [window for one in batch for window in one.windows]
        embedded = await self._embed(texts)
        stored = embedded.vectors.astype("<f2")
        tokens, cost = embedded.tokens, embedded.cost
        at = 0
        for one in batch:
            passages = []
            for chunk in one.chunks:
                vectors = tuple(vector.tobytes() for vector in stored[at : at + len(chunk.windows)])
                at += len(chunk.windows)
                passages.append(passage_of(one.document, chunk, vectors))
            text = one.document.text
            await self._step(
                self._store.keep_document(
                    self._training_id,
                    NewDocument(
                        one.source_id,
                        one.document.key,
                        one.fingerprint,
                        one.title,
                        len(text),
                        words_of(text),
                        # What the batch cost is counted with its first document.
                        tokens,
                        cost,
                        tuple(passages),
                        one.document.record_id,
                        one.document.suggestion,
                        len(one.document.pages) or None,
                    ),
                )
            )
            tokens, cost = 0, None if cost is None else cost * 0

    async def _embed(self, texts: Sequence[str]) -> Any:
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
        """Raises _Ended if somebody cancelled the training."""
        if await self._cancelled():
            await self._store.cancel_training(self._training_id)
            raise _Ended from None

    async def _step(self, call: Awaitable[Any]) -> Any:
        """Await a call that needs the training to run. Raises _Ended if it does not."""
        try:
            return await call
        except NotFound:
            raise _Ended from None

    async def _finish(self, assistant_id: str) -> None:
        training = await self._store.get_training(self._training_id)
        if training is None or training.state != "training":
            raise _Ended
        counts, threshold = await calibrated(
            self._store, self._embedder, training, self._purpose, has_vector_search=self._has_vector_search
        )
        if not counts.passages:
            raise TrainingFailed("nothing could be loaded of any data source")
        if not await self._store.finish_training(self._training_id, threshold, counts.packed()):
            raise _Ended
        try:
            await self._store.remove_old_trainings(assistant_id, self._settings.keep)
        except DataLayerError as error:
            logger.warning("old trainings of the assistant %s are not removed: %s", assistant_id, error)
