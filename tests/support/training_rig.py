"""A trainer and a retriever on one data layer, with the scripted server as the embedding model."""

from __future__ import annotations

from dataclasses import replace

from datalayer import DataSource, Training
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.knowledge import source
from tests.support.model_server import API_KEY, ModelServer
from tests.support.shared_worker import shared_worker
from threadkeeper.chat.metering.metered_model import MeteredModel
from threadkeeper.chat.providers import create_model
from threadkeeper.knowledge.chunks import ChunkSettings
from threadkeeper.knowledge.embedding.base import EmbeddingModel, EmbeddingPurpose
from threadkeeper.knowledge.embedding.embedder import Embedder
from threadkeeper.knowledge.retrieval.retriever import Retriever
from threadkeeper.knowledge.training import KnowledgeSettings, Trainer

NOBODY = EmbeddingPurpose()


class Rig:
    def __init__(
        self,
        layer: ChainlitLayer,
        server: ModelServer,
        name: str = "words",
        window: int = 0,
        dimensions: int | None = None,
    ) -> None:
        self.layer, self.server = layer, server
        self.worker = shared_worker
        model = create_model(api_key=API_KEY, base_url=server.base_url, timeout_seconds=60, max_retries=0, embeds=True)
        self.embedder = Embedder(MeteredModel(model, layer, keep_payloads=False), EmbeddingModel(name, dimensions, 0.2))
        settings = KnowledgeSettings(ChunkSettings(40, 8, window), keep=2)
        self.trainer = Trainer(layer, self.embedder, self.worker, settings, pauses=[0.01], progress_seconds=0)

    async def put(self, title: str, content: bytes | str, kind: str = "file", **options: object) -> DataSource:
        data = content if isinstance(content, bytes) else content.encode()
        return await self.layer.put_source(replace(source(title=title, options=options), kind=kind), data)

    async def train(self) -> Training:
        return await self.trainer.train((await self.layer.start_training("librarian")).id)

    async def found(self, question: str, threshold: float = 0.0) -> list[str]:
        retriever = Retriever(self.layer, has_vector_search=(await self.layer.prepare_vectors()).name == "pgvector")
        found = await retriever.find("librarian", question, self.embedder, NOBODY, threshold=threshold)
        return [passage.text for passage in found.passages]

    @property
    def embedded(self) -> list[str]:
        """All texts that the server has embedded."""
        return [text for request in self.server.requests for text in request.body["input"]]

    async def close(self) -> None:
        await self.embedder.close()
