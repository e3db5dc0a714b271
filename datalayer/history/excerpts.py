"""Excerpts of found texts, with the words of the search marked. Words are compared as the search does."""

import re
from collections.abc import Iterable, Iterator

from datalayer.history.search_tokens import MOST_CHARACTERS, fold, runs
from datalayer.records.chat import ExcerptPart

_BEFORE = 40
_WORD_START = re.compile(r"\s\S")


def excerpt(text: str, words: str, length: int) -> tuple[ExcerptPart, ...]:
    """About `length` characters around the first of the words, on one line; empty if the text has none of them."""
    text = " ".join(text[:MOST_CHARACTERS].split())
    spans = list(_spans(text, words))
    if not spans:
        return ()
    begin = max(spans[0][0] - _BEFORE, 0)
    if begin and (start := _WORD_START.search(text, begin, spans[0][0])):
        begin = start.end() - 1
    return _parts(text, spans, begin, max(begin + length, spans[0][1]))


def marked(text: str, words: str) -> tuple[ExcerptPart, ...]:
    """The whole text with the words marked."""
    return _parts(text, _spans(text, words), 0, len(text))


def _parts(text: str, spans: Iterable[tuple[int, int]], begin: int, end: int) -> tuple[ExcerptPart, ...]:
    """The text from `begin` to `end`, longer by a marked word that begins before the end, with what is left out."""
    parts = [ExcerptPart("…")] if begin else []
    at = begin
    for left, right in spans:
        if left >= end:
            break
        parts += [ExcerptPart(text[at:left]), ExcerptPart(text[left:right], is_marked=True)]
        at = right
    end = max(end, at)
    parts.append(ExcerptPart(text[at:end] + ("…" if len(text) > end else "")))
    return tuple(part for part in parts if part.text)


def _spans(text: str, words: str) -> Iterator[tuple[int, int]]:
    """Where the words are, in order and without overlaps."""
    wanted = [(unspaced, run) for unspaced, run, _ in runs(fold(words))]
    if not wanted:
        return
    # Folding can change the length: each character of the folded text has the place of its original.
    pieces = [(fold(character), at) for at, character in enumerate(text)]
    folded = "".join(piece for piece, _ in pieces)
    places = [at for piece, at in pieces for _ in piece]
    last = wanted[-1]
    patterns = (
        # The last word may be a beginning. A script without blanks has no beginnings and ends of words.
        re.escape(run) if unspaced else rf"\b{re.escape(run)}" + (r"\w*" if (unspaced, run) == last else r"\b")
        for unspaced, run in sorted(wanted, key=lambda one: -len(one[1]))
    )
    for found in re.finditer("|".join(patterns), folded):
        yield places[found.start()], places[found.end() - 1] + 1
