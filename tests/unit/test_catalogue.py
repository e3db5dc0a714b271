"""The message files that translators edit."""

import json
from pathlib import Path

import pytest

import threadkeeper.language
from threadkeeper.language.catalogue import LANGUAGES

MESSAGES = Path(threadkeeper.language.__path__[0], "messages")


@pytest.mark.parametrize("name", ["chat", "pages", "review"])
def test_both_languages_have_the_same_keys_in_the_same_order(name: str) -> None:
    english, chinese = (keys_of(MESSAGES / language / f"{name}.json") for language in LANGUAGES)
    assert english == chinese


@pytest.mark.parametrize("file", sorted(MESSAGES.rglob("*.json")), ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_no_key_is_twice_in_a_file(file: Path) -> None:
    keys = keys_of(file)
    assert len(keys) == len(set(keys))


def test_no_key_of_the_pages_is_in_two_files() -> None:
    assert not set(keys_of(MESSAGES / "en-US" / "pages.json")) & set(keys_of(MESSAGES / "en-US" / "review.json"))


def keys_of(file: Path) -> list[str]:
    """The keys in the order of the file, those that stand twice as well."""
    keys: list[str] = []
    json.loads(file.read_text("utf-8"), object_pairs_hook=lambda found: keys.extend(key for key, _ in found))
    return keys
