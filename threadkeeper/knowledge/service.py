"""The knowledge of all assistants in one process: trains, and finds passages."""

from __future__ import annotations

import logging
from typing import Protocol

from datalayer.knowledge.passage_search import VectorSearch
from datalayer.ownership import SYSTEM, acting_as
from threadkeeper.knowledge.embedding.base import EmbeddingPurpose
from threadkeeper.knowledge.embedding.embedder import Embedder
from threadkeeper.knowledge.retrieval.retriever import MOST_PASSAGES, Retrieved, Retriever
from threadkeeper.knowledge.training import KnowledgeSettings, Trainer
from threadkeeper.knowledge.training_store import KnowledgeStore
from threadkeeper.knowledge.worker_process import EmbeddingWorker

logger = logging.getLogger(__name__)


class ServiceStore(KnowledgeStore, Protocol):
    async def prepare_vectors(self) -> VectorSearch: ...


class KnowledgeService:
    """Call `prepare` once, then `trainer.train` and `find`. Nothing is loaded before.

    Args:
        worker: cuts texts into chunks; the model of this machine runs in it too.
    """

    def __init__(
        self, store: ServiceStore, embedder: Embedder, worker: EmbeddingWorker, settings: KnowledgeSettings
    ) -> None:
        self._store = store
        self.embedder, self.worker = embedder, worker
        self.trainer = Trainer(store, embedder, worker, settings)
        self._retriever = Retriever(store)

    async def prepare(self) -> VectorSearch:
        """Find out what searches vectors, and log it."""
        with acting_as(SYSTEM):
            search = await self._store.prepare_vectors()
        if search.name == "pgvector":
            logger.info("pgvector searches the passages of assistants")
        else:
            logger.info("this process searches the passages of assistants itself: %s", search.reason)
        has_vector_search = search.name == "pgvector"
        self.trainer.has_vector_search = has_vector_search
        self._retriever = Retriever(self._store, has_vector_search=has_vector_search)
        return search

    async def find(
        self,
        assistant_id: str,
        question: str,
        purpose: EmbeddingPurpose,
        *,
        limit: int = MOST_PASSAGES,
        threshold: float | None = None,
    ) -> Retrieved:
        """The passages that may answer a question, best first; see `Retriever.find`."""
        return await self._retriever.find(
            assistant_id, question, self.embedder, purpose, limit=limit, threshold=threshold
        )

    async def close(self) -> None:
        await self.embedder.close()
        await self.worker.close()
