"""Prepares loaded documents for a training: cleaned, with a fingerprint, and with their passages."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from datalayer.cleaning import clean_text
from datalayer.history.search_tokens import fold, runs
from datalayer.records.knowledge import NewDocument, NewPassage, TrainingSettings
from threadkeeper.knowledge.chunks import Chunk, page_of
from threadkeeper.knowledge.loaders.base import LoadedDocument

if TYPE_CHECKING:
    from threadkeeper.knowledge.embedding.base import Vectors


_TITLE_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class WaitingDocument:
    """A document that must be embedded."""

    source_id: str
    document: LoadedDocument
    title: str
    fingerprint: str
    chunks: tuple[Chunk, ...]

    @property
    def size(self) -> int:
        """The number of its windows."""
        return sum(len(chunk.windows) for chunk in self.chunks)

    @property
    def windows(self) -> list[str]:
        """What is embedded: each passage and each of its windows, behind the title, which says what they are about."""
        text, title = self.document.text, self.title[:_TITLE_CHARACTERS]
        found: list[str] = []
        for chunk in self.chunks:
            for at, (start, end) in enumerate(chunk.windows):
                window = text[start:end].strip() if at else text[start:end]
                between = ": " if at else "\n"
                found.append(window if title in window else f"{title}{between}{window}")
        return found


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


def new_document(waiting: WaitingDocument, vectors: Vectors, tokens: int | None, cost: Decimal | None) -> NewDocument:
    """The document as it is stored.

    Args:
        vectors: of its windows, a row for each.
        tokens: of the embedding, as billed.
        cost: of the embedding in US dollars.
    """
    from threadkeeper.knowledge.retrieval.words import hashes_of  # noqa: PLC0415  NumPy, at the first use

    document, stored = waiting.document, vectors.astype("<f2")
    passages: list[NewPassage] = []
    at = 0
    for chunk in waiting.chunks:
        text = document.text[chunk.start : chunk.end]
        its_vectors = tuple(vector.tobytes() for vector in stored[at : at + len(chunk.windows)])
        at += len(chunk.windows)
        page = page_of(chunk.start, document.pages)
        hashes = hashes_of(f"{waiting.title}\n{text}")
        passages.append(NewPassage(chunk.start, chunk.end, chunk.tokens, text, its_vectors, hashes, page))
    return NewDocument(
        waiting.source_id,
        document.key,
        waiting.fingerprint,
        waiting.title,
        len(document.text),
        words_of(document.text),
        tokens,
        cost,
        tuple(passages),
        document.record_id,
        document.suggestion,
        len(document.pages) or None,
    )


def words_of(text: str) -> int:
    """Words of a text; in a script without spaces, each character is one."""
    return sum(len(run) if unspaced else 1 for unspaced, run, _ in runs(fold(text)))
