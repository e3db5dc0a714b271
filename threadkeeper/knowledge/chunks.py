"""Cuts the text of a document into chunks of a number of tokens, between paragraphs, lines or sentences.

semantic-text-splitter cuts at the largest of these boundaries that fits, in texts with and without spaces; bpe-openai
counts the tokens. The offsets of a chunk are exact: `text[start:end]` is the chunk. A heading is not cut from the text
below it, because it would be found in place of that text. The splitter does not know this, so it reads the text with
blanks for the ends of lines behind headings, which has the same offsets.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from threadkeeper.vocabulary import tokenizer

VERSION = 3
"""A higher number when the same text gives other chunks; then documents are embedded again."""
_VOCABULARY = "o200k_base"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_WORD = re.compile(r"[^\W_]")
# A heading, a number in a list, or a cell of a table.
_LEAST_TOKENS = 3
_HEADING = re.compile(r"^#{1,6} \S", re.MULTILINE)
# Markdown headings and nothing else, and the ends of their lines.
_HEADINGS_ALONE = re.compile(r"(?:#{1,6} [^\n]*(?:\n\s*|\Z))+")
_HEADING_ENDS = re.compile(r"(?m:^)#{1,6} [^\n]*(\n\s*)(?=\S)")
# In a text without Markdown, a heading is a short line that is no sentence, behind the end of one or a blank line, and
# before a longer line. Of the next line so much is wanted that neither lists nor addresses are joined.
_PLAIN_HEADING = re.compile(
    r"(?:(?<=\n\n)|(?<=[.!?。！？:：]\n)|\A)[^\S\n]*[^\W_][^\n]{0,78}[^\s.!?。！？,;，；、]([^\S\n]*\n\s*)"
    r"(?=[^\n]{50}|[^\n]{9,}[.!?]\s|[^\n]*[\u3001-\u9fff][^\n]{12})"
)


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
    cut = _markdown_parts(text, settings) if is_markdown else _parts(_joined(_PLAIN_HEADING, text), settings)
    return [
        Chunk(start, end, count(text[start:end]), _windows(start, text[start:end], settings.window))
        for start, end in cut
    ]


def _parts(text: str, settings: ChunkSettings, *, is_markdown: bool = False) -> list[tuple[int, int]]:
    found = _splitter(settings.tokens, settings.overlap, is_markdown).chunk_indices(text)
    return [(start, start + len(chunk)) for start, chunk in found if chunk.strip()]


def _joined(headings: re.Pattern[str], text: str) -> str:
    """The text with blanks in place of what ends the lines of headings: group 1 of the pattern."""
    return headings.sub(lambda found: found[0][: found.start(1) - found.start()] + " " * len(found[1]), text)


def _markdown_parts(text: str, settings: ChunkSettings) -> list[tuple[int, int]]:
    """The parts of a text in Markdown. The splitter leaves a heading alone if the section below it is too large for a
    chunk; such a section is cut anew."""
    cut = _parts(text, settings, is_markdown=True)
    kept: list[tuple[int, int]] = []
    at = 0
    while at < len(cut):
        start, end = cut[at]
        at += 1
        if not _HEADINGS_ALONE.fullmatch(text, start, end):
            kept.append((start, end))
            continue
        is_alone = True
        while at < len(cut) and (is_alone or not _HEADING.match(text, cut[at][0])):
            end = cut[at][1]
            is_alone = _HEADINGS_ALONE.fullmatch(text, start, end) is not None
            at += 1
        section = _joined(_HEADING_ENDS, text[start:end])
        kept += [(start + first, start + last) for first, last in _parts(section, settings)]
    return kept


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
