"""Cuts the text of a document into chunks of a number of tokens, between paragraphs, lines or sentences.

semantic-text-splitter cuts at the largest of these boundaries that fits, in texts with and without spaces; bpe-openai
counts the tokens. The offsets of a chunk are exact: `text[start:end]` is the chunk.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from threadkeeper.vocabulary import tokenizer

VERSION = 2
"""A higher number when the same text gives other chunks; then documents are embedded again."""
_VOCABULARY = "o200k_base"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_WORD = re.compile(r"[^\W_]")
# A heading, a number in a list, or a cell of a table.
_LEAST_TOKENS = 3
_HEADING = re.compile(r"^#{1,6} \S", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """Args:
    tokens: of a chunk at most.
    overlap: tokens that a chunk may repeat of the one before.
    window: tokens at most of each sentence of a chunk that has a vector of its own, beside that of the chunk; 0: none
        has.
    """

    tokens: int = 256
    overlap: int = 30
    window: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.tokens:
            raise ValueError("the overlap of chunks must be smaller than a chunk")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text: `text[start:end]`. `windows` are the parts of the text that have a vector each:
    first the chunk itself."""

    start: int
    end: int
    tokens: int
    windows: tuple[tuple[int, int], ...]


def split(text: str, settings: ChunkSettings, *, is_markdown: bool = False) -> list[Chunk]:
    """The chunks of a text. Loads the vocabulary, so call it in the process of the embedding worker.

    The text must not contain lone surrogates (`datalayer.cleaning.clean_text`).
    """
    count = tokenizer(_VOCABULARY).count
    found = _splitter(settings.tokens, settings.overlap, is_markdown).chunk_indices(text)
    return [
        Chunk(start, start + len(chunk), count(chunk), _windows(start, chunk, settings.window))
        for start, chunk in found
        if chunk.strip()
    ]


def _windows(start: int, chunk: str, tokens: int) -> tuple[tuple[int, int], ...]:
    """The chunk itself, and its sentences; a long sentence is cut, and a piece of a few characters joins the next."""
    whole = (start, start + len(chunk))
    if not tokens:
        return (whole,)
    count, windows = tokenizer(_VOCABULARY).count, list[tuple[int, int]]()
    begin = 0
    for end in (*(found.end() for found in _SENTENCE_END.finditer(chunk)), len(chunk)):
        sentence = chunk[begin:end]
        words = sentence.strip()
        if end < len(chunk) and count(words) < _LEAST_TOKENS:
            continue
        is_long = count(words) > tokens
        pieces = _splitter(tokens, 0, False).chunk_indices(sentence) if is_long else [(0, sentence)]
        at = start + begin
        windows += [(at + offset, at + offset + len(piece)) for offset, piece in pieces if _WORD.search(piece)]
        begin = end
    return (whole, *windows) if len(windows) > 1 else (whole,)


def has_headings(text: str) -> bool:
    """Whether a text has headings as Markdown has them; then a heading stays with what is below it."""
    return _HEADING.search(text) is not None


def page_of(start: int, pages: Sequence[int]) -> int | None:
    """The page, from 1, on which a chunk begins; `pages` has the offset at which each page begins."""
    return bisect_right(pages, start) if pages else None


@lru_cache(maxsize=4)
def _splitter(tokens: int, overlap: int, markdown: bool) -> Any:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter  # noqa: PLC0415  needed in the worker alone

    count: Callable[[str], int] = tokenizer(_VOCABULARY).count
    return (MarkdownSplitter if markdown else TextSplitter).from_callback(count, tokens, overlap)
