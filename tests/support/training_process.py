"""A process that trains as a server does, for tests that kill it: it runs the jobs of trainings until it is ended.

Arguments: URL of the database, URL of the files, URL of the embedding server. It writes a line when it runs.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import replace

import datalayer
from tests.support.job_process import TIMES
from tests.support.model_server import API_KEY
from threadkeeper.chat.metering.metered_model import MeteredModel
from threadkeeper.chat.providers import create_model
from threadkeeper.jobs.registration import training_with
from threadkeeper.jobs.trainings import register_trainings
from threadkeeper.knowledge.chunks import ChunkSettings
from threadkeeper.knowledge.embedding.base import EmbeddingModel
from threadkeeper.knowledge.embedding.embedder import Embedder
from threadkeeper.knowledge.on_demand import KnowledgeOnDemand
from threadkeeper.knowledge.service import KnowledgeService
from threadkeeper.knowledge.training import KnowledgeSettings
from threadkeeper.knowledge.worker_process import EmbeddingWorker


async def train(database_url: str, files_url: str, server_url: str) -> None:
    layer = datalayer.create_data_layer(database_url, files_url)

    def open_service() -> KnowledgeService:
        model = create_model(api_key=API_KEY, base_url=server_url, embeds=True)
        embedder = Embedder(MeteredModel(model, layer, keep_payloads=False), EmbeddingModel("words", 64, 0.2), batch=64)
        return KnowledgeService(layer, embedder, EmbeddingWorker(), KnowledgeSettings(ChunkSettings(40, 8)))

    knowledge = KnowledgeOnDemand(open_service)
    register_trainings(layer, training_with(knowledge))
    # Long enough that a busy machine does not make a process look dead, and the tests wait for it.
    layer.run_jobs(replace(TIMES, dead_after=10.0, elected=10.0))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print("runs", flush=True)
    await ended.wait()
    await layer.stop_jobs()
    await knowledge.close()
    await layer.close()


if __name__ == "__main__":
    asyncio.run(train(*sys.argv[1:]))
