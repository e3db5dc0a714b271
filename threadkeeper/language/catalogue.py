"""The messages for users, read from the files in `messages/` that translators edit.

Each language has a folder with a JSON file for each part of the application: an object of keys and messages. Messages
can have placeholders such as `{name}`, the same in both languages. A test fails for a missing translation.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

LANGUAGES = ("en-US", "zh-CN")
_MESSAGES = Path(__file__).with_name("messages")


class Catalogue(Mapping[str, tuple[str, str]]):
    """Maps each key to its English and its Chinese message. The files are read at the first use.

    Args:
        names: the files without folder and suffix, as in "chat".
    """

    def __init__(self, *names: str) -> None:
        self._names = names

    @cached_property
    def _sentences(self) -> dict[str, tuple[str, str]]:
        english, chinese = map(self._read, LANGUAGES)
        return {key: (sentence, chinese[key]) for key, sentence in english.items()}

    def _read(self, language: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in self._names:
            found |= json.loads((_MESSAGES / language / f"{name}.json").read_text("utf-8"))
        return found

    def __getitem__(self, key: str) -> tuple[str, str]:
        return self._sentences[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sentences)

    def __len__(self) -> int:
        return len(self._sentences)


CHAT = Catalogue("chat", "documents")
PAGES = Catalogue("pages", "review", "assistants", "assistant_knowledge", "admin", "threads")
KNOWLEDGE = Catalogue("knowledge", "documents")
