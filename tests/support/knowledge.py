"""Documents and vectors of the knowledge of assistants, without an embedding model; and trainings with one."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from datalayer import DataSource, NewDocument, NewPassage, Training, TrainingSettings
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.model_server import API_KEY, ModelServer
from tests.support.records import new_id
from tests.support.shared_worker import shared_worker
from threadkeeper.factories import open_knowledge
from threadkeeper.knowledge.service import KnowledgeService
from threadkeeper.settings.settings import Settings

SETTINGS = TrainingSettings("small", 4, 256, 30, 1)


def packed(*numbers: float) -> bytes:
    """A vector as it is stored."""
    return struct.pack(f"<{len(numbers)}e", *numbers)


def source(assistant: str = "librarian", title: str = "Handbook", **fields: object) -> DataSource:
    return DataSource(new_id(), assistant, "file", title, **fields)  # type: ignore[arg-type]


def document(
    source_id: str, key: str, texts: Sequence[str], vectors: Sequence[bytes] | None = None, **fields: object
) -> NewDocument:
    """A document with a passage for each text."""
    passages, at = [], 0
    for number, text in enumerate(texts):
        vector = vectors[number] if vectors is not None else packed(1, 0, 0, 0)
        passages.append(NewPassage(at, at + len(text), len(text.split()), text, (vector,), text.encode()))
        at += len(text) + 1
    whole = "\n".join(texts)
    return NewDocument(
        source_id,
        key,
        fingerprint(whole),
        key or "Handbook",
        len(whole),
        len(whole.split()),
        10,
        None,
        tuple(passages),
        **fields,  # type: ignore[arg-type]
    )


def fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def trained(
    layer: ChainlitLayer, documents: Sequence[NewDocument], assistant: str = "librarian", threshold: float = 0.3
) -> Training:
    """A training of these documents that answers; unchanged documents are taken from the one before."""
    training = await layer.start_training(assistant)
    assert await layer.begin_training(training.id, SETTINGS, len({one.source_id for one in documents}))
    for one in documents:
        if not await layer.take_documents(training.id, one.source_id, [(one.key, one.fingerprint)]):
            await layer.keep_documents(training.id, [one])
    assert await layer.finish_training(training.id, threshold, b"counts")
    found = await layer.get_training(training.id)
    assert found is not None
    return found


EMBEDDING = {"KNOWLEDGE_EMBEDDING_MODEL": "words"}
"""The settings of an application whose assistants are trained with the scripted model server."""


def open_with_shared_worker(settings: Settings, layer: ChainlitLayer) -> KnowledgeService:
    """`open_knowledge`, with the embedding worker of all tests: one of its own takes a second of CPU time to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("threadkeeper.knowledge.worker_process.EmbeddingWorker", lambda _idle_seconds: shared_worker)
        return open_knowledge(settings, layer, [])


async def train_files(
    layer: ChainlitLayer,
    assistant: str,
    files: Mapping[str, bytes | str],
    model_server: ModelServer | None,
    model: str = EMBEDDING["KNOWLEDGE_EMBEDDING_MODEL"],
) -> Training:
    """Train an assistant, named by its slug, with these files.

    Args:
        layer: of the application.
        assistant: the slug.
        files: the contents by their names.
        model_server: embeds; None: the embedding model of this machine does.
        model: the embedding model of the server.
    """
    given: dict[str, Any] = {}
    if model_server is not None:
        given = {"openai_base_url": model_server.base_url, "openai_api_key": API_KEY, "openai_max_retries": 0}
        given["knowledge_embedding_model"] = model
    service = open_with_shared_worker(Settings(**given), layer)
    try:
        await service.prepare()
        for title, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            await layer.put_source(source(assistant, title), data)
        return await service.trainer.train((await layer.start_training(assistant)).id)
    finally:
        await service.close()
