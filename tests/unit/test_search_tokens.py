"""The search tokens of texts and queries."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.history.search_tokens import LONGEST_WORD, MOST_BYTES, MOST_CHARACTERS, owner_key, tokens, understood
from datalayer.records.search import Query

TEXTS = st.text() | st.text("abÄß İı9_ 天气好ンﾝ한กा\u0301\u3099'\"\\:*%&|!()")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hello, WORLD!", ["hello", "world"]),
        ("snake_case kebab-case 3.14", ["snake_case", "kebab", "case", "3", "14"]),
        ("Ｆｕｌｌ ﾃｽﾄ ﬁne ①", ["full", "テス", "スト", "ト", "fine", "1"]),
        ("GRÜßE ΣΊΣΥΦΟΣ İstanbul", ["grüsse", "σίσυφοσ", "istanbul"]),
        ("cafe\u0301 caf\u00e9", ["café"]),
        ("今天天气", ["今天", "天天", "天气", "气"]),
        ("好", ["好"]),
        ("Python3教程a", ["python3", "教程", "程", "a"]),
        ("한국어를", ["한국", "국어", "어를", "를"]),
        ("ไทย", ["ไท", "ทย", "ย"]),
        ("हिन्दी שָׁלוֹם", ["हिन्दी", "שָׁלוֹם"]),
        ("葛\U000e0100城 soft\u00adhyphen", ["葛城", "城", "softhyphen"]),
        ("𠀀𠀁", ["𠀀𠀁", "𠀁"]),
        ("%&|!()':*\\ \n🙂", []),
    ],
)
def test_text_is_split_into_tokens(text: str, found: list[str]) -> None:
    assert tokens(text) == found


@pytest.mark.parametrize(
    ("words", "query"),
    [
        ("two words", Query(("two",), ("words",))),
        ("two words ", Query(("two", "words"), ())),
        ("done.", Query(("done",), ())),
        ("天气", Query(("天气",), ())),
        ("天", Query((), ("天",))),
        ("天 py", Query((), ("天", "py"))),
        ("天气好py", Query(("天气", "气好"), ("py",))),
        ("", None),
        (" %':*\\ ", None),
    ],
)
def test_a_query_is_split_like_text(words: str, query: Query | None) -> None:
    assert understood(words) == query


@given(TEXTS)
def test_a_token_is_safe_in_both_engines(text: str) -> None:
    for token in tokens(text):
        assert not set(token) & set(" \t\n'\"\\:*&|!()<>-%\x00")
        assert len(token) <= LONGEST_WORD


@given(TEXTS, TEXTS, TEXTS)
def test_a_text_is_found_by_each_of_its_words(before: str, word: str, after: str) -> None:
    query = understood(f"{word} ")
    found = set(tokens(f"{before} {word} {after}"))
    if query is not None:
        assert set(query.whole) <= found
        assert all(any(token.startswith(one) for token in found) for one in query.beginnings)


def test_the_tokens_of_one_text_fit_into_an_index() -> None:
    words = [f"{number:063}" for number in range(10_000)]
    found = tokens(" ".join(words))
    assert found == words[: len(found)]
    assert 0 < len(found) < MOST_CHARACTERS // 64 + 1
    wide = tokens("".join(map(chr, range(0x20000, 0x32000))) * 2)
    assert 0 < sum(len(token.encode()) for token in wide) <= MOST_BYTES


def test_a_very_long_word_is_found_by_its_beginning() -> None:
    assert tokens("x" * 1000) == ["x" * LONGEST_WORD]
    assert understood("x" * 1000) == Query((), ("x" * LONGEST_WORD,))


def test_a_text_of_maximum_length_is_split_quickly() -> None:
    begun = time.process_time()
    for text in ("wörd " * MOST_CHARACTERS, "天气很好" * MOST_CHARACTERS, "x" * MOST_CHARACTERS * 2):
        tokens(text)
    assert time.process_time() - begun < 3


def test_the_keys_of_users_have_one_length() -> None:
    keys = {owner_key(str(number)) for number in range(1000)}
    assert len(keys) == 1000
    assert {len(key) for key in keys} == {8}
