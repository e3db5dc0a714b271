"""The knowledge of assistants: data sources, trainings, documents and passages.

An assistant is a text id here. A training makes the knowledge that answers from its sources; trainings of an assistant
are numbered, and a document is part of the trainings from its number `since` to before its number `until`.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

TrainingState = Literal["new", "training", "success", "failed", "cancelled"]
RUNNING: tuple[TrainingState, ...] = ("new", "training")
FETCHED_KINDS = ("url", "api")
"""The kinds of data sources that a training fetches from an address."""


@dataclass(frozen=True, slots=True)
class DataSource:
    """What an assistant knows from: a file in the blob store, or an address whose content is kept there.

    `kind` is "file", "pairs" (questions and answers), "datasheet" (each row is a document), "url" (a page or a file) or
    "api" (an HTTP API, each record is a document). `options` are those of the loader, such as the chosen columns, and
    for the last two kinds the "address". `fetched` says where and when the content was fetched.
    """

    id: str
    assistant_id: str
    kind: str
    title: str
    options: dict[str, Any] = field(default_factory=dict)
    object_key: str | None = None
    byte_size: int | None = None
    sha256: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    fetched: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What a training embeds with. Documents are embedded again when one of these changes.

    `model` is the embedding model and `dimensions` the length of its vectors; `chunk_tokens` and `chunk_overlap` are
    tokens; `chunker` is the version of the chunker. Beside its own vector, a passage has one for each `window_tokens`
    of its text, unless that is 0.
    """

    model: str
    dimensions: int
    chunk_tokens: int
    chunk_overlap: int
    chunker: int
    window_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TrainingCounts:
    """What a training contains. `reused` documents were not embedded again; `cost` is in US dollars, None if unknown;
    `tokens` are those that embedding billed."""

    documents: int = 0
    failed_documents: int = 0
    reused_documents: int = 0
    passages: int = 0
    vectors: int = 0
    words: int = 0
    characters: int = 0
    tokens: int = 0
    cost: Decimal | None = Decimal(0)


@dataclass(frozen=True, slots=True)
class Training:
    """One training of an assistant. `threshold` is the score below which a passage answers nothing. `error` says why it
    failed, and `failure` has the "kind" of the failure and its "values"; None for trainings of before. The progress is
    told by `expected_sources` and `done_sources`, and by the documents and passages of `counts` while it runs.
    `suggestions` are questions that its documents answer; None until they were made."""

    id: str
    assistant_id: str
    number: int
    state: TrainingState
    is_current: bool
    created_at: str
    started_by: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    settings: TrainingSettings | None = None
    counts: TrainingCounts = TrainingCounts()
    threshold: float | None = None
    expected_sources: int = 0
    done_sources: int = 0
    error: str | None = None
    suggestions: tuple[str, ...] | None = None
    failure: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SourceResult:
    """What a training took of a source. `loader` has its version ("pdf 1"), `taken` is what was left out, and `refused`
    the reason if nothing was taken. `fetch` says whether a source with an address was fetched: its "state" is "new",
    "unchanged" or "failed", then with the "kind" of the failure and its "values"."""

    source_id: str
    title: str
    sha256: str | None
    loader: str | None
    taken: dict[str, Any] | None
    refused: str | None
    documents: int
    failed_documents: int = 0
    fetch: dict[str, Any] | None = None

    def is_of(self, source: DataSource, options: dict[str, Any] | None) -> bool:
        """Whether the source is as it was trained, with these options: another one needs a training."""
        return (self.title, self.sha256, options) == (source.title, source.sha256, source.options)


@dataclass(frozen=True, slots=True)
class ListedSource:
    """A data source, and what the training that answers took of it: None if that training does not know the source.
    `trained_options` are the options of the source of that moment."""

    source: DataSource
    result: SourceResult | None = None
    trained_options: Any = None


@dataclass(frozen=True, slots=True)
class SourcePage:
    """Data sources, newest first, and the cursor of the next page, if there is one."""

    sources: tuple[ListedSource, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ResultPage:
    """What a training took of its sources: refused ones first, then by title; and the cursor of the next page."""

    results: tuple[SourceResult, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class NewPassage:
    """A chunk of a document with its vectors: float16 in little-endian order. `hashes` are those of its search tokens:
    32 bits each, sorted, in little-endian order."""

    start: int
    end: int
    tokens: int
    text: str
    vectors: tuple[bytes, ...]
    hashes: bytes
    page: int | None = None


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document that was embedded. `fingerprint` is a hash of its text, title and the settings of the training."""

    source_id: str
    key: str
    fingerprint: str
    title: str
    characters: int
    words: int
    tokens: int | None
    cost: Decimal | None
    passages: tuple[NewPassage, ...]
    record_id: str | None = None
    suggestion: str | None = None
    pages: int | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a training, without its passages."""

    id: str
    source_id: str
    key: str
    title: str
    characters: int
    words: int
    passages: int
    record_id: str | None = None
    suggestion: str | None = None
    pages: int | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document that may answer a question. `score` is that of the search."""

    id: int
    document_id: str
    document_title: str
    source_id: str
    text: str
    score: float
    page: int | None = None
    record_id: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentPassage:
    """A part of a document, as it was embedded. `position` counts from 0; `tokens` are those of the chunker."""

    position: int
    text: str
    tokens: int
    page: int | None = None


@dataclass(frozen=True, slots=True)
class KnowledgeState:
    """What an assistant knows, in numbers. `documents` are those of the training that answers, which ended at
    `trained_at`; `changed_sources` were added, changed or deleted since. `newest` is the state of the newest
    training."""

    sources: int = 0
    changed_sources: int = 0
    documents: int = 0
    trained_at: str | None = None
    newest: TrainingState | None = None


@dataclass(frozen=True, slots=True)
class PassageVector:
    """One vector of a passage: part 0 is that of the whole passage, the others those of its windows."""

    id: int
    part: int
    vector: bytes
