"""An assistant with an embedding model of its own is trained with it, and asked with it, whatever is set today."""

from collections.abc import AsyncIterator

import pytest

from datalayer import SYSTEM, AssistantSettings, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.knowledge import open_with_shared_worker, source
from tests.support.model_server import API_KEY, ModelServer
from threadkeeper.knowledge.embedding.base import EmbeddingPurpose
from threadkeeper.knowledge.missing import NoKnowledge
from threadkeeper.knowledge.service import KnowledgeService
from threadkeeper.knowledge.training import TrainingFailed
from threadkeeper.settings.settings import Settings

NOBODY = EmbeddingPurpose()
TEXT = "The harbour opens at six in the morning."


@pytest.fixture
async def service(layer: ChainlitLayer, model_server: ModelServer) -> AsyncIterator[KnowledgeService]:
    server = {"openai_base_url": model_server.base_url, "openai_api_key": API_KEY}
    settings = Settings(knowledge_embedding_model="words", **server)  # type: ignore[arg-type]
    service = open_with_shared_worker(settings, layer)
    await service.prepare()
    yield service
    await service.close()


async def make(layer: ChainlitLayer, service: KnowledgeService, slug: str, model: str) -> str:
    """An assistant that is trained with this model; gives the model that its training names."""
    with acting_as(SYSTEM):
        await layer.create_assistant(AssistantSettings(slug, embedding_model=model), slug=slug)
        await layer.put_source(source(slug, "harbour.txt"), TEXT.encode())
        training = await service.trainer.train((await layer.start_training(slug)).id)
    assert training.settings is not None
    return training.settings.model


def models(server: ModelServer) -> list[str]:
    return [request.model for request in server.requests]


async def test_each_assistant_is_trained_and_asked_with_its_own_model(
    layer: ChainlitLayer, service: KnowledgeService, model_server: ModelServer
) -> None:
    assert await make(layer, service, "usual", "") == "words"
    assert await make(layer, service, "own", "words:32") == "words:32"
    assert models(model_server)[-1] == "words:32"
    model_server.forget()
    found = await service.find("own", "When does the harbour open?", NOBODY, model="words:32", threshold=0.0)
    assert [passage.text for passage in found.passages] == [TEXT]
    assert models(model_server) == ["words:32"]
    found = await service.find("usual", "When does the harbour open?", NOBODY, model="words", threshold=0.0)
    assert [passage.text for passage in found.passages] == [TEXT]


async def test_a_model_of_this_machine_stands_beside_one_of_a_server(
    layer: ChainlitLayer, service: KnowledgeService, model_server: ModelServer
) -> None:
    assert await make(layer, service, "here", "use-multilingual-3") == "use-multilingual-3"
    found = await service.find("here", "When does the harbour open?", NOBODY, model="use-multilingual-3")
    assert found.training.settings is not None
    assert found.training.settings.window_tokens > 0
    assert models(model_server) == []


async def test_a_model_that_this_server_cannot_use_fails_the_training_with_its_name(layer: ChainlitLayer) -> None:
    service = open_with_shared_worker(Settings(), layer)
    try:
        with pytest.raises(TrainingFailed, match="embedding model words needs a server"):
            await make(layer, service, "lost", "words")
        with acting_as(SYSTEM):
            (training,) = await layer.list_trainings("lost")
        assert (training.state, training.is_current) == ("failed", False)
        with pytest.raises(NoKnowledge, match="words"):
            await service.find("lost", "When?", NOBODY, model="words")
    finally:
        await service.close()
