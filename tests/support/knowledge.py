"""Documents and vectors of the knowledge of assistants, without an embedding model."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from datalayer import DataSource, NewDocument, NewPassage, Training, TrainingSettings
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.records import new_id

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
