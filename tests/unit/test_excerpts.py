"""Excerpts mark what the search found, in the text as it was written."""

import pytest

from datalayer.history.excerpts import excerpt, marked


def shown(text: str, words: str, length: int = 200) -> str:
    return "".join(f"[{part.text}]" if part.is_marked else part.text for part in excerpt(text, words, length))


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("The Mekong is long", "mekong", "The [Mekong] is long"),
        ("The Mekong is long", "mek", "The [Mekong] is long"),
        ("The Mekong is long", "long mek", "The [Mekong] is [long]"),
        ("A longer one, and long", "long river", "A longer one, and [long]"),
        ("ＭＥＫＯＮＧ, wide letters", "mekong", "[ＭＥＫＯＮＧ], wide letters"),
        ("Die Straße am Fluß", "strasse fluss", "Die [Straße] am [Fluß]"),
        ("湄公河很长", "公河", "湄[公河]很长"),
        ("湄公河 is 湄公河", "湄公河", "[湄公河] is [湄公河]"),
        ("a line\n\n  and\tanother", "another", "a line and [another]"),
        ("C++ (a+b)*", "a+b", "C++ ([a]+[b])*"),
        ("İstanbul", "istanbul", "[İstanbul]"),
        ("nothing of it", "mekong", ""),
        ("Mekong", "?!", ""),
        ("", "mekong", ""),
    ],
)
def test_the_words_are_marked_as_they_are_written(text: str, words: str, expected: str) -> None:
    assert shown(text, words) == expected


def test_an_excerpt_is_short_and_has_the_first_words() -> None:
    text = f"{'before ' * 100}needle {'after ' * 100}needle"
    found = shown(text, "needle", 100)
    assert found.startswith("…before before")
    assert found.endswith("…")
    assert found.count("[needle]") == 1
    assert 90 < len(found) < 110


def test_a_title_is_not_shortened() -> None:
    parts = marked("Rivers of Asia, rivers of Europe", "rivers")
    assert "".join(part.text for part in parts) == "Rivers of Asia, rivers of Europe"
    assert [part.text for part in parts if part.is_marked] == ["Rivers", "rivers"]
