"""Prepares loaded documents for a training: cleaned, with a fingerprint, and with their passages."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from datalayer.cleaning import clean_text
from datalayer.history.search_tokens import fold, runs
from datalayer.records.knowledge import NewPassage, TrainingSettings
from threadkeeper.knowledge.chunks import Chunk, page_of
from threadkeeper.knowledge.loaders.base import LoadedDocument


@dataclass(frozen=True, slots=True)
class WaitingDocument:
    """A document that must be embedded."""

    source_id: str
    document: LoadedDocument
    title: str
    fingerprint: str
    chunks: tuple[Chunk, ...]

    @property
    def windows(self) -> list[str]:
        text = self.document.text
        return [text[start:end] for chunk in self.chunks for start, end in chunk.windows]


def cleaned(document: LoadedDocument) -> LoadedDocument:
    """The document as it can be stored. A replaced character takes one place, so offsets of pages stay."""
    title = None if document.title is None else clean_text(" ".join(document.title.split()))[:300]
    return LoadedDocument(
        clean_text(document.text),
        clean_text(document.key),
        title or None,
        document.pages,
        document.record_id,
        document.suggestion,
    )


def fingerprint_of(document: LoadedDocument, title: str, settings: TrainingSettings | None) -> str:
    assert settings is not None
    parts = [document.text, title, document.pages, document.record_id, document.suggestion, asdict(settings)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def passage_of(document: LoadedDocument, chunk: Chunk, vectors: tuple[bytes, ...]) -> NewPassage:
    from threadkeeper.knowledge.retrieval.words import hashes_of  # noqa: PLC0415  NumPy, at the first use

    text = document.text[chunk.start : chunk.end]
    page = page_of(chunk.start, document.pages)
    return NewPassage(chunk.start, chunk.end, chunk.tokens, text, vectors, hashes_of(text), page)


def words_of(text: str) -> int:
    """Words of a text; in a script without spaces, each character is one."""
    return sum(len(run) if unspaced else 1 for unspaced, run, _ in runs(fold(text)))
