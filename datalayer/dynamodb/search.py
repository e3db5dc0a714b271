"""Search: the words of the search against the texts of a thread, by the same tokens as in SQL.

DynamoDB has no index of words. So a search reads the user's threads, the latest first, until the page is full.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datalayer.dynamodb.items import Item, text_of
from datalayer.history.search_tokens import tokens, understood
from datalayer.records.search import Query
from datalayer.thought import THOUGHT, THOUGHT_TYPE, speech_of

_ANSWER = "assistant_message"


@dataclass(frozen=True)
class Matcher:
    """Finds the words of one search in texts."""

    query: Query | None

    @staticmethod
    def of(words: str | None) -> "Matcher | None":
        """The matcher of these words, or None if nothing is searched for."""
        return Matcher(understood(words)) if words and not words.isspace() else None

    @property
    def finds_nothing(self) -> bool:
        """Whether the words contain no token, such as punctuation only."""
        return self.query is None

    def matches(self, *texts: str) -> bool:
        """Whether these texts together contain every word."""
        query = self.query
        if query is None:
            return False
        found = tokens("\n".join(texts))
        return set(query.whole) <= set(found) and all(_begins_one(found, start) for start in query.beginnings)

    def matches_step(self, step: Item) -> bool:
        """Whether the texts of a step contain every word. The thought of an answer counts as nobody's words."""
        given, output, kind = (text_of(step, name) or "" for name in ("input", "output", "type"))
        metadata: Any = step.get("metadata", {}).get("M", {})
        if kind == THOUGHT_TYPE and metadata.get("status", {}).get("S") == THOUGHT:
            output = ""
        return self.matches(given, speech_of(output) if kind == _ANSWER else output)


def _begins_one(found: Sequence[str], start: str) -> bool:
    return any(token.startswith(start) for token in found)
