"""The knowledge of a process, as the settings describe it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import datalayer
from tests.support.model_server import API_KEY, ModelServer
from threadkeeper.factories import open_knowledge
from threadkeeper.knowledge.embedding.base import EmbeddingPurpose
from threadkeeper.settings.settings import Settings, SettingsError


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
        assert local.trainer.settings.chunks.window > 0
        settings = Settings(
            openai_base_url=model_server.base_url,
            openai_api_key=API_KEY,  # type: ignore[arg-type]
            knowledge_embedding_model="words",
            knowledge_embedding_dimensions=64,
            knowledge_chunk_tokens=100,
        )
        server = open_knowledge(settings, layer, [])
        assert (server.embedder.model.dimensions, server.trainer.settings.chunks.window) == (64, 0)
        assert server.trainer.settings.chunks.tokens == 100
        with pytest.raises(SettingsError, match="KNOWLEDGE_EMBEDDING_BASE_URL"):
            open_knowledge(Settings(knowledge_embedding_model="words"), layer, [])
        monkeypatch.setattr("threadkeeper.knowledge.embedding.local.find_spec", lambda _name: None)
        with pytest.raises(SettingsError, match="KNOWLEDGE_EMBEDDING_MODEL"):
            open_knowledge(Settings(), layer, [])
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
