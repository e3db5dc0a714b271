"""The message files that translators edit."""

import json
from pathlib import Path

import pytest

import threadkeeper.language
from threadkeeper.language.catalogue import LANGUAGES

MESSAGES = Path(threadkeeper.language.__path__[0], "messages")


@pytest.mark.parametrize("name", ["admin", "assistants", "chat", "documents", "knowledge", "pages", "review"])
def test_both_languages_have_the_same_keys_in_the_same_order(name: str) -> None:
    english, chinese = (keys_of(MESSAGES / language / f"{name}.json") for language in LANGUAGES)
    assert english == chinese


@pytest.mark.parametrize("file", sorted(MESSAGES.rglob("*.json")), ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_no_file_contains_a_key_twice(file: Path) -> None:
    keys = keys_of(file)
    assert len(keys) == len(set(keys))


def test_no_two_files_of_the_pages_share_a_key() -> None:
    files = [keys_of(MESSAGES / "en-US" / f"{name}.json") for name in ("pages", "review", "assistants", "admin")]
    assert sum(map(len, files)) == len(set().union(*files))


def keys_of(file: Path) -> list[str]:
    """The keys in the order of the file, with duplicates."""
    keys: list[str] = []
    json.loads(file.read_text("utf-8"), object_pairs_hook=lambda found: keys.extend(key for key, _ in found))
    return keys
