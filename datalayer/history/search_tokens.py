"""The tokens of a text: its words, folded, in a form that both engines index alike.

A text is normalised to NFKC and case-folded, so that neither width nor case matters, and split into runs of letters,
digits, marks and underscores. A run in a script without spaces between words (Chinese, Japanese, Thai, Lao, Khmer,
Burmese), or in Korean, whose words take endings, becomes its overlapping pairs of characters and its last character.
Any other run is a word. A query is split in the same way. One text must contain every token of the query; the last word
matches as a prefix, and a single character of such a script as the first of a pair.
"""

import base64
import hashlib
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from datalayer.records.search import Query

MOST_CHARACTERS = 200_000
"""Characters of a text that are indexed; the rest is stored and shown, but not found."""
MOST_BYTES = 400_000
"""Bytes of distinct tokens of one text that are indexed, keys included. Postgres takes at most 1 MB."""
KEY_LENGTH = 8
LONGEST_WORD = 64
"""Only this many characters of a longer word count."""
MOST_WANTED = 64
"""Only this many tokens of a search count."""

# Han, Hiragana, Katakana, Bopomofo, Hangul; Thai, Lao, Burmese, Khmer.
_UNSPACED = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U000323af\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0edf\u1000-\u109f\u1780-\u17d3"
)
_FIRST_UNSPACED = "\u0e01"
_PARTS = re.compile(f"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_ASCII_RUN = re.compile("[0-9a-z_]+")
# Invisible: soft hyphens, joiners, marks of direction, variants of one glyph.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef]+")


def owner_key(user_id: str) -> str:
    """The prefix of each token of this user's texts: `KEY_LENGTH` characters, which keep them together in an index.

    Two users may share a key, which costs a little time and nothing else: who owns a thread is asked of the thread.
    """
    return (
        base64.b32encode(hashlib.blake2s(user_id.encode(), digest_size=KEY_LENGTH * 5 // 8).digest()).decode().lower()
    )


def tokens(text: str) -> list[str]:
    """The distinct tokens of a text, within the bounds above."""
    found: dict[str, None] = {}
    for unspaced, run, _ in runs(fold(text[:MOST_CHARACTERS])):
        if unspaced:
            found.update(dict.fromkeys(map("".join, pairwise(run))))
            found[run[-1]] = None
        else:
            found[run[:LONGEST_WORD]] = None
    return _within_bounds(list(found))


def understood(words: str) -> Query | None:
    """The query of these words, or None if they contain no token, such as punctuation only."""
    folded = fold(words[:MOST_CHARACTERS])
    whole: dict[str, None] = {}
    beginnings: dict[str, None] = {}
    for unspaced, run, end in runs(folded):
        if unspaced and len(run) > 1:
            whole.update(dict.fromkeys(map("".join, pairwise(run))))
        elif unspaced or end == len(folded):
            beginnings[run[:LONGEST_WORD]] = None
        else:
            whole[run[:LONGEST_WORD]] = None
    if not whole and not beginnings:
        return None
    return Query(tuple(whole)[:MOST_WANTED], tuple(beginnings)[:MOST_WANTED])


def fold(text: str) -> str:
    """The text in the form in which words are compared."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    # The capital İ leaves its dot behind, which nobody types.
    return _INVISIBLE.sub("", folded).replace("i\u0307", "i")


def runs(folded: str) -> Iterator[tuple[bool, str, int]]:
    """For each run: whether its script has no spaces between words, the run, and its end."""
    if folded.isascii():
        for found in _ASCII_RUN.finditer(folded):
            yield False, found[0], found.end()
        return
    for found in _run().finditer(folded):
        if max(found[0]) < _FIRST_UNSPACED:
            yield False, found[0], found.end()
            continue
        for part in _PARTS.finditer(found[0]):
            yield _is_unspaced(part[0][0]), part[0], found.start() + part.end()


@cache
def _run() -> re.Pattern[str]:
    # In Hindi or Hebrew, combining marks are part of a word, but `re` does not count them as letters.
    marks = "".join(chr(code) for code in range(0x300, 0x1E950) if unicodedata.category(chr(code)).startswith("M"))
    # Most characters after a word are ASCII, and looking them up among the marks is slow.
    return re.compile(f"\\w+(?:(?![\\x00-\\x7f])[{marks}]+\\w*)*")


@cache
def _is_unspaced(character: str) -> bool:
    return re.match(f"[{_UNSPACED}]", character) is not None


def _within_bounds(found: list[str]) -> list[str]:
    left = MOST_BYTES
    if sum(map(len, found)) * 4 + len(found) * KEY_LENGTH < left:
        return found
    for at, token in enumerate(found):
        left -= len(token.encode()) + KEY_LENGTH
        if left < 0:
            return found[:at]
    return found
