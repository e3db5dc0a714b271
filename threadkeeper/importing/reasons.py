"""Why a file or a conversation could not be read: a message of the catalogue and its values.

A job stores it as data, so that the page says it in the language of its reader.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from threadkeeper.language.catalogue import PAGES
from threadkeeper.language.negotiation import DEFAULT

_in_english = partial(PAGES.say, language=DEFAULT)


@dataclass(frozen=True, slots=True)
class Reason:
    """A sentence. `key` is a message with `values`; one of them may be the reason behind it."""

    key: str
    values: Mapping[str, "str | int | Reason"] = field(default_factory=dict)

    def __str__(self) -> str:
        """In English, for the log, the command and the API."""
        return self.said(_in_english)

    def said(self, say: Callable[..., str]) -> str:
        """As this function says messages."""
        values = {name: value.said(say) if isinstance(value, Reason) else value for name, value in self.values.items()}
        return say(self.key, **values)

    def as_json(self) -> dict[str, Any]:
        values = {name: value.as_json() if isinstance(value, Reason) else value for name, value in self.values.items()}
        return {"key": self.key, "values": values}

    @classmethod
    def of_json(cls, given: Any) -> Self | None:
        """What `as_json` has given; None for what it has not, as of a job of an earlier version."""
        if not isinstance(given, Mapping) or given.get("key") not in PAGES:
            return None
        values = {name: cls.of_json(value) or value for name, value in dict(given.get("values") or {}).items()}
        return cls(given["key"], values)


class Unread(Exception):
    """Something cannot be read. Its text is a sentence in English."""

    def __init__(self, key: str, **values: str | int | Reason) -> None:
        self.reason = Reason(key, values)
        super().__init__(str(self.reason))
