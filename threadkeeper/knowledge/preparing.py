"""Prepares loaded documents for a training: cleaned, with a fingerprint, and with their passages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
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
_FREE = Decimal(0)


@dataclass(frozen=True, slots=True)
class WaitingDocument:
    """A document that must be embedded, with its chunks and the number of its words once it is cut."""

    source_id: str
    document: LoadedDocument
    title: str
    fingerprint: str
    chunks: tuple[Chunk, ...] = ()
    words: int = 0

    @property
    def size(self) -> int:
        """The number of its windows."""
        return sum(len(chunk.windows) for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Piece:
    """Passages of a document that are embedded together: those of `waiting.chunks[first:end]`.

    Args:
        document_id: of a large document, which is stored in pieces; None: the piece is the whole document.
    """

    waiting: WaitingDocument
    first: int
    end: int
    document_id: str | None = None

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        return self.waiting.chunks[self.first : self.end]

    @property
    def size(self) -> int:
        """The number of its windows."""
        return sum(len(chunk.windows) for chunk in self.chunks)

    @property
    def windows(self) -> list[str]:
        """What is embedded: each passage and each of its windows, behind the title, which says what they are about, and
        behind the head of their table."""
        text, title = self.waiting.document.text, self.waiting.title[:_TITLE_CHARACTERS]
        found: list[str] = []
        for chunk in self.chunks:
            head = chunk.head_in(text)
            for at, (start, end) in enumerate(chunk.windows):
                window = head + (text[start:end].strip() if at else text[start:end])
                between = ": " if at else "\n"
                found.append(window if title in window else f"{title}{between}{window}")
        return found


@dataclass(frozen=True, slots=True)
class EmbeddedPiece:
    """A piece that was embedded. `tokens` and `cost` in US dollars are those of its embedding, as billed."""

    piece: Piece
    passages: tuple[NewPassage, ...]
    tokens: int | None
    cost: Decimal | None


def pieces_of(waiting: WaitingDocument, windows: int, first: int, document_id: str) -> Iterator[Piece]:
    """The pieces of a document from the chunk `first` on, each of at most so many windows, or of one chunk."""
    count = 0
    for at in range(first, len(waiting.chunks)):
        size = len(waiting.chunks[at].windows)
        if count and count + size > windows:
            yield Piece(waiting, first, at, document_id)
            first, count = at, 0
        count += size
    if count:
        yield Piece(waiting, first, len(waiting.chunks), document_id)


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


def fingerprint_of(document: LoadedDocument, title: str, settings: TrainingSettings) -> str:
    parts = [document.text, title, document.pages, document.record_id, document.suggestion, asdict(settings)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def new_passages(piece: Piece, vectors: Vectors) -> tuple[NewPassage, ...]:
    """The passages of a piece as they are stored.

    Args:
        vectors: of its windows, a row for each.
    """
    from threadkeeper.knowledge.retrieval.words import hashes_of  # noqa: PLC0415  NumPy, at the first use

    waiting, stored = piece.waiting, vectors.astype("<f2")
    passages: list[NewPassage] = []
    at = 0
    for chunk in piece.chunks:
        text = chunk.head_in(waiting.document.text) + waiting.document.text[chunk.start : chunk.end]
        its_vectors = tuple(vector.tobytes() for vector in stored[at : at + len(chunk.windows)])
        at += len(chunk.windows)
        page = page_of(chunk.start, waiting.document.pages)
        hashes = hashes_of(f"{waiting.title}\n{text}")
        passages.append(NewPassage(chunk.start, chunk.end, chunk.tokens, text, its_vectors, hashes, page))
    return tuple(passages)


def new_document(
    waiting: WaitingDocument,
    passages: tuple[NewPassage, ...] = (),
    tokens: int | None = 0,
    cost: Decimal | None = _FREE,
) -> NewDocument:
    """The document as it is stored, with these passages, and what their embedding cost."""
    document = waiting.document
    return NewDocument(
        waiting.source_id,
        document.key,
        waiting.fingerprint,
        waiting.title,
        len(document.text),
        waiting.words,
        tokens,
        cost,
        passages,
        document.record_id,
        document.suggestion,
        len(document.pages) or None,
    )


def words_of(text: str) -> int:
    """Words of a text; in a script without spaces, each character is one."""
    return sum(len(run) if unspaced else 1 for unspaced, run, _ in runs(fold(text)))
