"""Takes the documents of the sources of a training: they are cut, embedded in batches, and stored.

What uses the CPU for long, as the words of a large document, runs in threads or in the embedding worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from datalayer.errors import NotFound
from datalayer.records.knowledge import DataSource, TrainingSettings
from threadkeeper.knowledge.batches import WINDOWS_AT_ONCE, Batches
from threadkeeper.knowledge.chunks import Chunk, ChunkSettings, has_headings
from threadkeeper.knowledge.embedding.base import Embedded
from threadkeeper.knowledge.loaders.base import LoadedDocument
from threadkeeper.knowledge.loading import Load, LoadRefused
from threadkeeper.knowledge.preparing import (
    EmbeddedPiece,
    Piece,
    WaitingDocument,
    cleaned,
    fingerprint_of,
    new_document,
    pieces_of,
    words_of,
)
from threadkeeper.knowledge.training_store import KnowledgeStore
from threadkeeper.knowledge.worker_process import EmbeddingWorker

_DOCUMENTS_AT_ONCE = 64
_CHARACTERS_AT_ONCE = 20_000


class Ended(Exception):
    """The training does not run any more."""


async def step(call: Awaitable[Any]) -> Any:
    """Await a call that needs the training to run. Raises Ended if it does not."""
    try:
        return await call
    except NotFound:
        raise Ended from None


class Intake:
    """The documents of one run of a training. `run` embeds and stores what `take` loads, until it is cancelled.

    Args:
        training_id: of the training.
        settings: as they are stored with it.
        chunks: how texts are cut.
        embed: gives the vectors of texts.
        demand_going: raises Ended if somebody cancelled the training; before each batch, and each group of documents.
        stored: is awaited when a batch was stored.
    """

    def __init__(
        self,
        store: KnowledgeStore,
        worker: EmbeddingWorker,
        training_id: str,
        settings: TrainingSettings,
        chunks: ChunkSettings,
        *,
        embed: Callable[[Sequence[str]], Awaitable[Embedded]],
        demand_going: Callable[[], Awaitable[None]],
        stored: Callable[[], Awaitable[None]],
    ) -> None:
        self._store, self._worker, self._training_id = store, worker, training_id
        self._settings, self._chunks = settings, chunks
        self._embed, self._demand_going, self._stored = embed, demand_going, stored
        self._batches = Batches(self._embed_going, self._keep)

    async def run(self) -> None:
        """Embed and store what is taken. Raises what embedding and the store raise."""
        await self._batches.run()

    async def take(self, source: DataSource, load: Load) -> int:
        """Load the documents of a file and wait until they are stored; gives their number.

        Raises:
            LoadRefused: nothing, or nothing more, could be loaded. What was loaded before is stored.
            Ended: the training does not run any more.
        """
        documents = load.documents()
        group: list[LoadedDocument] = []
        count = characters = 0
        refused: LoadRefused | None = None
        try:
            async for document in documents:
                count += 1
                characters += len(document.text)
                group.append(document)
                if len(group) >= _DOCUMENTS_AT_ONCE or characters >= _CHARACTERS_AT_ONCE:
                    await self._prepare(source, group)
                    group, characters = [], 0
        except LoadRefused as refusal:
            refused = refusal
        finally:
            await documents.aclose()
        await self._prepare(source, group)
        await self._batches.stored(source.id)
        if refused is not None:
            raise refused
        return count

    async def _prepare(self, source: DataSource, group: Sequence[LoadedDocument]) -> None:
        """Cut documents and let them be embedded. One that was embedded before is taken as it is."""
        await self._demand_going()
        if not group:
            return
        documents = await asyncio.to_thread(self._fingerprinted, source, group)
        keys = [(one.document.key, one.fingerprint) for one in documents]
        taken = await step(self._store.take_documents(self._training_id, source.id, keys))
        new = [one for one, key in zip(documents, keys, strict=True) if key not in taken]
        if not new:
            return
        is_file = source.kind in ("file", "url")
        texts = [(one.document.text, is_file and has_headings(one.document.text)) for one in new]
        found, _ = await self._worker.ask({"do": "chunk", "texts": texts, **asdict(self._chunks)})
        for one in await asyncio.to_thread(_with_chunks, new, found):
            await self._put(one)

    def _fingerprinted(self, source: DataSource, group: Sequence[LoadedDocument]) -> list[WaitingDocument]:
        found = []
        for one in map(cleaned, group):
            title = one.title or source.title
            found.append(WaitingDocument(source.id, one, title, fingerprint_of(one, title, self._settings)))
        return found

    async def _put(self, document: WaitingDocument) -> None:
        """Let a document be embedded: as a whole, or in pieces, of which those of an earlier run are there already."""
        if document.size <= WINDOWS_AT_ONCE:
            await self._batches.put(Piece(document, 0, len(document.chunks)))
            return
        document_id, there = await step(self._store.begin_document(self._training_id, new_document(document)))
        if there >= len(document.chunks):
            await self._finish(document_id, document)
        for piece in pieces_of(document, WINDOWS_AT_ONCE, there, document_id):
            await self._batches.put(piece)

    async def _embed_going(self, texts: Sequence[str]) -> Embedded:
        await self._demand_going()
        return await self._embed(texts)

    async def _keep(self, embedded: Sequence[EmbeddedPiece]) -> None:
        whole = [
            new_document(one.piece.waiting, one.passages, one.tokens, one.cost)
            for one in embedded
            if one.piece.document_id is None
        ]
        if whole:
            await step(self._store.keep_documents(self._training_id, whole))
        for one in embedded:
            piece = one.piece
            if piece.document_id is None:
                continue
            place = (self._training_id, piece.document_id, piece.first)
            await step(self._store.keep_passages(*place, one.passages, tokens=one.tokens, cost=one.cost))
            if piece.end == len(piece.waiting.chunks):
                await self._finish(piece.document_id, piece.waiting)
        await self._stored()

    async def _finish(self, document_id: str, document: WaitingDocument) -> None:
        await step(self._store.finish_document(self._training_id, document_id, len(document.chunks)))


def _with_chunks(documents: Sequence[WaitingDocument], found: Sequence[Any]) -> list[WaitingDocument]:
    """The documents with their chunks, as the worker cut them, and with the number of their words."""
    return [
        replace(
            one,
            chunks=tuple(
                Chunk(start, end, tokens, tuple((begin, stop) for begin, stop in windows), head and tuple(head))
                for start, end, tokens, windows, head in chunks
            ),
            words=words_of(one.document.text),
        )
        for one, chunks in zip(documents, found, strict=True)
    ]
