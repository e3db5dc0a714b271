"""The languages of the application, and the choice of one for a reader.

A folder of `messages/` is a language. It has the name of the files in which Chainlit has the same language.
"""

import json
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

MESSAGES = Path(__file__).with_name("messages")
DEFAULT = "en-US"
LANGUAGES = (DEFAULT, *sorted(folder.name for folder in MESSAGES.iterdir() if folder.name != DEFAULT))
"""The tags of all languages, the default first."""

_TAG = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*")
_QUALITY = re.compile(r"\s*[qQ]\s*=\s*([01](?:\.\d{0,3})?)\s*")
# Longer headers are cut: browsers send at most some hundred characters.
_LONGEST = 1_000


@dataclass(frozen=True, slots=True)
class About:
    """A language.

    Args:
        name: as its speakers call it.
        is_complete: whether every message is translated. If so, a missing one fails the tests.
    """

    name: str
    is_complete: bool


@cache
def about(language: str) -> About:
    """What `language.json` says of a language.

    Args:
        language: one of `LANGUAGES`.
    """
    said = json.loads((MESSAGES / language / "language.json").read_text("utf-8"))
    return About(said["name"], said["complete"])


def language_for(*wishes: str | None) -> str:
    """The language for a reader, one of `LANGUAGES`.

    Args:
        wishes: language tags such as "zh-CN", or Accept-Language headers such as "fr;q=0.9, de". Those of the first
            wish that has a language of ours decide; None and what is not a tag are ignored.
    """
    return next((found for wish in wishes if (found := known_language(wish))), DEFAULT)


def known_language(wish: str | None) -> str | None:
    """The language of ours that a tag or an Accept-Language header asks for first; None if it asks for none of ours."""
    return _first_known(wish[:_LONGEST]) if wish else None


@lru_cache(maxsize=1_000)
def _first_known(wish: str) -> str | None:
    ranges = filter(None, map(_range, wish.split(",")))
    for tag, quality in sorted(ranges, key=lambda one: -one[1]):
        if quality > 0 and (language := _known(tag)):
            return language
    return None


def _range(text: str) -> tuple[str, float] | None:
    """A language range with its quality, from 0 (not wanted) to 1. None if it is not written as RFC 9110 says."""
    tag, separator, rest = text.partition(";")
    quality = _QUALITY.fullmatch(rest)
    if not _TAG.fullmatch(tag.strip()) or (separator and not quality):
        return None
    return tag.strip().lower(), float(quality[1]) if quality else 1.0


def _known(tag: str) -> str | None:
    """The language with this tag, or else the first one with its primary tag: "de-AT" and "de" are de-DE."""
    if tag == "*":
        return DEFAULT
    by_tag = {language.lower(): language for language in LANGUAGES}
    same_primary = (language for known, language in by_tag.items() if _primary(known) == _primary(tag))
    return by_tag.get(tag) or next(same_primary, None)


def _primary(tag: str) -> str:
    return tag.partition("-")[0]
