"""The messages for users, read from the files in `messages/` that translators edit (docs/translating.md).

Each language has a folder with a JSON file for each part of the application: an object of keys and messages. A message
is a text, or an object with a text for each plural form, chosen by the value of `{count}`. Messages can have
placeholders such as `{name}`, the same in all languages.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from threadkeeper.language.negotiation import DEFAULT, LANGUAGES, MESSAGES, language_for
from threadkeeper.language.numbers import plural_form, spoken

logger = logging.getLogger(__name__)

Message = str | Mapping[str, str]
"""A text, or texts by plural form: "one", "few", "many", "other", or an exact number such as "1"."""


class Catalogue:
    """Messages of all languages by key. The files of a language are read when it is first needed.

    Args:
        names: the files without folder and suffix, as in "chat".
        folder: has a folder for each language.
    """

    def __init__(self, *names: str, folder: Path = MESSAGES) -> None:
        self.names = names
        self._folder = folder
        # An instance's own cache, because a method's would keep the instance alive.
        self.messages = cache(self._read)

    def say(self, key: str, language: str | None, **values: object) -> str:
        """The message with its values filled in; numbers are written as is usual in the language.

        Args:
            key: of the message.
            language: a language tag, the value of an Accept-Language header, or None for the default.
            values: of the placeholders. The whole number `count` decides on the plural form.

        Raises:
            KeyError: no message has this key, or a value is missing.
        """
        tag = language_for(language)
        text = chosen_form(self.messages(tag)[key], values.get("count"), tag)
        return text.format_map({name: spoken(value, tag) for name, value in values.items()})

    def forms(self, key: str) -> Iterator[str]:
        """Every text of this key, in all languages and plural forms."""
        for language in LANGUAGES:
            message = self.messages(language)[key]
            yield from [message] if isinstance(message, str) else message.values()

    def __contains__(self, key: object) -> bool:
        return key in self._english

    def __iter__(self) -> Iterator[str]:
        return iter(self._english)

    @cached_property
    def _english(self) -> Mapping[str, Message]:
        return self.messages(DEFAULT)

    def _read(self, language: str) -> Mapping[str, Message]:
        found = _messages_of(self._folder / language, self.names)
        if language == DEFAULT:
            return found
        if missing := [key for key in self._english if key not in found]:
            logger.warning(
                "%d messages are not translated into %s, so users read them in English: %s",
                len(missing),
                language,
                ", ".join(missing[:5]) + (", …" if len(missing) > 5 else ""),
            )
        return {key: found.get(key, english) for key, english in self._english.items()}


def chosen_form(message: Message, count: object, language: str) -> str:
    """The text of a message for this number: that of the exact number, of its plural form, or of "other"."""
    if isinstance(message, str):
        return message
    if isinstance(count, int):
        return message.get(str(count)) or message.get(plural_form(count, language)) or message["other"]
    return message["other"]


def _messages_of(folder: Path, names: Iterable[str]) -> dict[str, Message]:
    found: dict[str, Any] = {}
    for name in names:
        file = folder / f"{name}.json"
        # A translator may not have begun with a file.
        found |= json.loads(file.read_text("utf-8")) if file.exists() else {}
    return found


CHAT = Catalogue("chat", "documents")
PAGES = Catalogue(
    "pages", "review", "assistants", "assistant_knowledge", "admin", "models", "money", "threads", "history"
)
KNOWLEDGE = Catalogue("knowledge", "documents")
