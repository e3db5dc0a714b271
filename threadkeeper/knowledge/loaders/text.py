"""Loads text and Markdown as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from threadkeeper.documents.decoding import decode
from threadkeeper.knowledge.loaders.base import LoadedDocument, LoadOptions, Refused, Taken, cut

_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)


class TextLoader:
    name: ClassVar[str] = "text"
    version: ClassVar[int] = 1

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        yield LoadedDocument(cut(text_of(data, taken), options, taken))


class MarkdownLoader:
    name: ClassVar[str] = "markdown"
    version: ClassVar[int] = 1

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        text = cut(text_of(data, taken), options, taken)
        heading = _HEADING.search(text)
        yield LoadedDocument(text, title=heading[1] if heading else None)


def text_of(data: bytes, taken: Taken) -> str:
    """The text; an encoding that was guessed is told. Raises Refused if the bytes are not text."""
    decoded = decode(data)
    if decoded is None:
        raise Refused("unsupported")
    text, encoding, is_certain = decoded
    if not is_certain:
        taken.left_out.append(("part_encoding", {"encoding": encoding}))
    return text
