"""The knowledge of all assistants in one process: trains, and finds passages."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from datalayer.errors import NotFound
from datalayer.knowledge.passage_search import VectorSearch
from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.assistants import Assistant
from threadkeeper.knowledge.embedding.base import EmbeddingPurpose
from threadkeeper.knowledge.embedding.embedder import Embedder
from threadkeeper.knowledge.missing import NoKnowledge
from threadkeeper.knowledge.retrieval.retriever import MOST_PASSAGES, Retrieved, Retriever
from threadkeeper.knowledge.training import KnowledgeSettings, Trainer
from threadkeeper.knowledge.training_store import KnowledgeStore
from threadkeeper.knowledge.worker_process import EmbeddingWorker

logger = logging.getLogger(__name__)


def _no_other(model: str) -> Embedder:
    raise NoKnowledge(f"This server has no embedding model {model!r}.")


class ServiceStore(KnowledgeStore, Protocol):
    async def prepare_vectors(self) -> VectorSearch: ...
    async def get_assistant(self, slug: str, version: int | None = None) -> Assistant: ...


class KnowledgeService:
    """Call `prepare` once, then `trainer.train` and `find`. Nothing is loaded before.

    Args:
        embedder: of the default model.
        worker: cuts texts into chunks; the model of this machine runs in it too.
        open_embedder: gives the embedder of another model by its name. Raises NoKnowledge.
    """

    def __init__(
        self,
        store: ServiceStore,
        embedder: Embedder,
        worker: EmbeddingWorker,
        settings: KnowledgeSettings,
        open_embedder: Callable[[str], Embedder] = _no_other,
    ) -> None:
        self._store, self._open_embedder = store, open_embedder
        self.embedder, self.worker = embedder, worker
        self._others: dict[str, Embedder] = {}
        self.trainer = Trainer(store, embedder, worker, settings, embedder_for=self._embedder_for)
        self._retriever = Retriever(store)

    async def prepare(self) -> VectorSearch:
        """Find out what searches vectors, and log it."""
        with acting_as(SYSTEM):
            search = await self._store.prepare_vectors()
        logger.info("%s", search)
        has_vector_search = search.name == "pgvector"
        self.trainer.has_vector_search = has_vector_search
        self._retriever = Retriever(self._store, has_vector_search=has_vector_search)
        return search

    def embedder_of(self, model: str) -> Embedder:
        """The embedder of a model; of the default one, if the name is empty.

        Raises:
            NoKnowledge: this server cannot embed with it.
        """
        if model in ("", self.embedder.model.name):
            return self.embedder
        if model not in self._others:
            self._others[model] = self._open_embedder(model)
        return self._others[model]

    async def _embedder_for(self, assistant_id: str) -> Embedder:
        """The embedder that an assistant is trained with. Raises NoKnowledge."""
        try:
            assistant = await self._store.get_assistant(assistant_id)
        except NotFound:
            return self.embedder
        return self.embedder_of(assistant.settings.embedding_model)

    async def find(
        self,
        assistant_id: str,
        question: str,
        purpose: EmbeddingPurpose,
        *,
        model: str = "",
        limit: int = MOST_PASSAGES,
        threshold: float | None = None,
    ) -> Retrieved:
        """The passages that may answer a question, best first; see `Retriever.find`.

        Args:
            model: with which the training was made.
        """
        embedder = self.embedder_of(model)
        return await self._retriever.find(assistant_id, question, embedder, purpose, limit=limit, threshold=threshold)

    async def close(self) -> None:
        for embedder in (self.embedder, *self._others.values()):
            await embedder.close()
        await self.worker.close()
