"""Loads Word files and OpenDocument texts and presentations, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from threadkeeper.documents.worker.archive import open_archive
from threadkeeper.documents.worker.opendocument import read_opendocument
from threadkeeper.documents.worker.word import read_word
from threadkeeper.knowledge.loaders.base import LoadedDocument, LoadOptions, Taken


class WordLoader:
    name: ClassVar[str] = "word"
    version: ClassVar[int] = 2

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        reading = read_word(open_archive(data), data, max_characters=options.max_characters)
        yield LoadedDocument(taken.take(reading))


class OpenDocumentLoader:
    name: ClassVar[str] = "opendocument"
    version: ClassVar[int] = 1

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        yield LoadedDocument(taken.take(read_opendocument(open_archive(data), max_characters=options.max_characters)))
