"""Cuts the text of a document into chunks of a number of tokens, between paragraphs, lines or sentences.

semantic-text-splitter cuts at the largest of these boundaries that fits, in texts with and without spaces; bpe-openai
counts the tokens. The offsets of a chunk are exact: `text[start:end]` is the chunk. A heading is not cut from the text
below it, because it would be found in place of that text. The splitter does not know this, so it reads the text with
blanks for the ends of lines behind headings, which has the same offsets. Nor does it repeat the head of a long table:
a chunk of later rows says where the head is, because rows alone answer no question about their columns.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby
from typing import Any

from threadkeeper.vocabulary import tokenizer

VERSION = 4
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


_TABLE_DELIMITER = re.compile(r"\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?")
# A longer head would leave no room for rows.
_HEAD_SHARE = 3


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
    """A piece of a text: `text[start:end]`, of so many tokens with its head. `windows` are the parts of the text that
    have a vector each: first the chunk itself. `head` is where the names of the columns are, if the chunk begins
    within the rows of a table."""

    start: int
    end: int
    tokens: int
    windows: tuple[tuple[int, int], ...]
    head: tuple[int, int] | None = None

    def head_in(self, text: str) -> str:
        """The lines of its head, with the end of the last; empty if it has none."""
        return text[slice(*self.head)] if self.head else ""


def split(text: str, settings: ChunkSettings, *, is_markdown: bool = False) -> list[Chunk]:
    """The chunks of a text. Loads the vocabulary, so call it in the process of the embedding worker.

    The text must not contain lone surrogates (`datalayer.cleaning.clean_text`).
    """
    count = tokenizer(_VOCABULARY).count
    cut = _markdown_parts(text, settings) if is_markdown else _parts(_joined(_PLAIN_HEADING, text), settings)
    chunks: list[Chunk] = []
    for start, end, head in _with_heads(text, cut, settings):
        tokens = count((text[slice(*head)] if head else "") + text[start:end])
        chunks.append(Chunk(start, end, tokens, _windows(start, text[start:end], settings.window), head))
    return chunks


@dataclass(frozen=True, slots=True)
class _Table:
    """Where a table of Markdown is: its head in `text[start:rows]`, its rows in `text[rows:end]`."""

    start: int
    rows: int
    end: int


def _tables(text: str) -> list[_Table]:
    """The tables of a text that have the names of their columns, in order."""
    found: list[_Table] = []
    lines = text.split("\n") if "|" in text else []
    offsets = [0, *accumulate(len(line) + 1 for line in lines)]
    at = 1
    while at < len(lines):
        names = lines[at - 1]
        if "|" in names and "|" in lines[at] and _WORD.search(names) and _TABLE_DELIMITER.fullmatch(lines[at].strip()):
            rows = at + 1
            while at + 1 < len(lines) and "|" in lines[at + 1]:
                at += 1
            found.append(_Table(offsets[rows - 2], offsets[rows], offsets[at + 1]))
        at += 1
    return found


def _with_heads(
    text: str, cut: Sequence[tuple[int, int]], settings: ChunkSettings
) -> Iterator[tuple[int, int, tuple[int, int] | None]]:
    """The parts of a text, each with the head of the table in whose rows it begins. Such parts are cut once more, all
    of one table together, so that none is too long with its head."""
    count, tables = tokenizer(_VOCABULARY).count, _tables(text)
    starts = [table.start for table in tables]

    def table_at(part: tuple[int, int]) -> _Table | None:
        at = bisect_right(starts, part[0]) - 1
        return tables[at] if at >= 0 and tables[at].rows <= part[0] < tables[at].end else None

    for table, parts in groupby(cut, table_at):
        size = count(text[table.start : table.rows]) if table else 0
        if table is None or size * _HEAD_SHARE > settings.tokens:
            yield from ((start, end, None) for start, end in parts)
            continue
        found = list(parts)
        begin, finish = found[0][0], found[-1][1]
        overlap = min(settings.overlap, (settings.tokens - size) // _HEAD_SHARE)
        for start, end in _parts(text[begin:finish], ChunkSettings(settings.tokens - size, overlap)):
            yield begin + start, begin + end, (table.start, table.rows) if begin + start < table.end else None


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
