"""A program that runs one training and prints its state, for tests that kill it.

Arguments: URL of the database, URL of the files, URL of the embedding server, id of the training.
"""

from __future__ import annotations

import asyncio
import sys

import datalayer
from tests.support.model_server import API_KEY
from threadkeeper.chat.metering.metered_model import MeteredModel
from threadkeeper.chat.providers import create_model
from threadkeeper.knowledge.chunks import ChunkSettings
from threadkeeper.knowledge.embedding.base import EmbeddingModel
from threadkeeper.knowledge.embedding.embedder import Embedder
from threadkeeper.knowledge.training import KnowledgeSettings, Trainer
from threadkeeper.knowledge.worker_process import EmbeddingWorker


async def train(database_url: str, files_url: str, server_url: str, training_id: str) -> str:
    layer = datalayer.create_data_layer(database_url, files_url)
    worker = EmbeddingWorker()
    model = create_model(api_key=API_KEY, base_url=server_url, embeds=True)
    embedder = Embedder(MeteredModel(model, layer, keep_payloads=False), EmbeddingModel("words", 64, 0.2), batch=64)
    try:
        done = await Trainer(layer, embedder, worker, KnowledgeSettings(ChunkSettings(40, 8))).train(training_id)
    finally:
        await embedder.close()
        await worker.close()
        await layer.close()
    return done.state


if __name__ == "__main__":
    print(asyncio.run(train(*sys.argv[1:])))
