"""What is read of the answer of a provider, whatever its dialect: model, tokens, text, end and error.

An answer comes whole or as the events of a stream; both go through `take`, event by event. What an event lacks stays
None. Nothing here raises for what a provider sends: an event that cannot be read is counted in `unread`.

The text of an answer is what the model says, not what it thinks. If it says nothing, the text is the tools that it
calls, or else the words with which the provider refuses.
"""

from __future__ import annotations

import json
from typing import Any

from threadkeeper.chat.model import PartialUsage, TokenUsage
from threadkeeper.chat.providers.reported_errors import ReportedError, read_error
from threadkeeper.chat.providers.reported_usage import UsageReading

_MOST_CHARACTERS = 1_000_000
_MOST_TOKENS = 10**9
_LONGEST_NAME = 200


class Answer:
    """What is known of one answer so far."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.id: str | None = None
        self.service_tier: str | None = None
        self.reason: str | None = None
        self.error: ReportedError | None = None
        self.unread = 0
        self.thought_characters = 0
        self._texts: list[str] = []
        self._characters = 0
        # By their place in the answer: the name of a tool, and its arguments.
        self._calls: dict[object, tuple[str, list[str]]] = {}
        self._refusals: list[str] = []
        self._usage = UsageReading()

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def usage(self) -> TokenUsage | PartialUsage | None:
        """The tokens that the provider reported."""
        return self._usage.report()

    def take(self, event: Any) -> None:
        """Take one event of a stream, or the whole answer."""
        try:
            self._take(event)
        except (TypeError, ValueError, AttributeError, LookupError, RecursionError):
            self.unread += 1

    def refuse(self, body: object) -> None:
        """Take the body of a response with an error status."""
        self.error = read_error(body)

    def end(self) -> None:
        """Nothing follows."""
        if not self._texts:
            for name, arguments in self._calls.values():
                self._write(f"{name}({''.join(arguments)})\n")
        if not self._texts:
            for words in self._refusals:
                self._write(words)

    def _take(self, event: Any) -> None:
        raise NotImplementedError

    def _write(self, text: object) -> None:
        if isinstance(text, str) and text and self._characters < _MOST_CHARACTERS:
            self._texts.append(text)
            self._characters += len(text)

    def _think(self, text: object) -> None:
        self.thought_characters += len(text) if isinstance(text, str) else 0

    def _refuse(self, words: object) -> None:
        if isinstance(words, str) and words:
            self._refusals.append(words)

    def _call(self, place: object, name: object = None, arguments: object = None) -> None:
        """A tool that is called, or more of its arguments: text, or their value."""
        known, parts = self._calls.get(place, ("", []))
        if arguments:
            parts.append(arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False))
        self._calls[place] = str(name) if name else known, parts

    def _name(self, model: object) -> None:
        if isinstance(model, str) and model.strip():
            self.model = model.strip()[:_LONGEST_NAME]

    def _identify(self, given: object) -> None:
        if isinstance(given, str) and given.strip():
            self.id = given.strip()[:_LONGEST_NAME]

    def _take_tier(self, holder: dict[str, Any]) -> None:
        """The service tier that was used. Only the end of a stream may name it."""
        if isinstance(tier := holder.get("service_tier"), str) and tier:
            self.service_tier = tier


def token_counts(usage: Any) -> dict[str, int]:
    """The valid numbers of tokens in a report; a larger one is a mistake of the provider."""
    pairs = usage.items() if isinstance(usage, dict) else ()
    return {name: count for name, count in pairs if type(count) is int and 0 <= count <= _MOST_TOKENS}
