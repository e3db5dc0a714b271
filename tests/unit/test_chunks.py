"""Chunks have exact offsets, at most so many tokens, and do not cut sentences."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadkeeper.knowledge.chunks import ChunkSettings, has_headings, page_of, split
from threadkeeper.vocabulary import tokenizer

ENGLISH = "The harbour master counts the boats. When the tide turns, the small ones leave first! Who follows them? "
CHINESE = "港务长清点船只。潮水转向的时候，小船先离开！谁跟在它们后面？"
SMALL = ChunkSettings(tokens=40, overlap=8)


@pytest.mark.parametrize("text", [ENGLISH * 20, CHINESE * 20, (ENGLISH + CHINESE) * 10], ids=["en", "zh", "mixed"])
def test_no_sentence_is_cut(text: str) -> None:
    chunks = split(text, SMALL)
    assert len(chunks) > 10
    for chunk in chunks:
        assert re.search(r"[.!?。！？]$", text[chunk.start : chunk.end])
        assert 0 < chunk.tokens <= SMALL.tokens
        assert chunk.tokens == tokenizer("o200k_base").count(text[chunk.start : chunk.end])


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=400))
def test_chunks_are_exact_and_lose_nothing_but_blanks(text: str) -> None:
    chunks = split(text, ChunkSettings(tokens=16, overlap=0))
    assert all(text[chunk.start : chunk.end].strip() for chunk in chunks)
    edges = [0, *(edge for chunk in chunks for edge in (chunk.start, chunk.end)), len(text)]
    assert edges == sorted(edges)
    assert not "".join(text[end:start] for end, start in zip(edges[::2], edges[1::2], strict=True)).strip()


def test_chunks_overlap_by_whole_sentences() -> None:
    text = " ".join(f"Sentence number {number}." for number in range(60))
    chunks = split(text, SMALL)
    overlaps = [text[after.start : before.end] for before, after in pairwise(chunks)]
    assert all(overlap.startswith("Sentence") for overlap in overlaps)
    assert all(tokenizer("o200k_base").count(overlap) <= SMALL.overlap for overlap in overlaps)


def test_a_heading_stays_with_its_text_in_markdown() -> None:
    parts = [f"# Heading {number}\n\n" + "A sentence below it. " * 5 for number in range(6)]
    text = "\n\n".join(parts)
    chunks = [text[chunk.start : chunk.end] for chunk in split(text, SMALL, is_markdown=True)]
    assert all(chunk.startswith("# Heading") for chunk in chunks)
    assert has_headings(text)
    assert not has_headings("Room #3 and # no heading")


@pytest.mark.parametrize(
    ("heading", "sentence"),
    [
        ("## The hours", "On day {0} the harbour opens at {0}. "),
        ("# The place\n\n## The hours", "On day {0} the harbour opens at {0}. "),
        ("The hours", "On day {0} the harbour opens at {0}, and the crane lifts boats. "),
        ("# 开放时间", "第{0}天的港口在早上{0}点开门。"),
        ("开放时间", "第{0}天的港口在早上{0}点开门，吊车把船吊起来。"),
    ],
)
def test_a_heading_is_not_cut_from_the_text_below_it(heading: str, sentence: str) -> None:
    section = "".join(sentence.format(number) for number in range(12)).strip()
    text = "\n\n".join(f"{heading}\n\n{section}" for _ in range(3))
    chunks = split(text, SMALL, is_markdown=has_headings(text))
    cut = [text[chunk.start : chunk.end] for chunk in chunks]
    assert len(cut) > 6
    assert all(chunk.tokens <= SMALL.tokens for chunk in chunks)
    with_heading = [one for one in cut if heading in one]
    assert len(with_heading) == 3
    assert all(sentence.format(0).strip() in one for one in with_heading)
    assert not any(one.rstrip().endswith(heading) for one in cut)


def test_lines_of_lists_and_addresses_are_no_headings() -> None:
    """Joined, they would be one sentence, which is cut between any words."""
    text = "\n".join(f"Ada Example {number}\n\n{number} Quay Street" for number in range(20))
    for chunk in split(text, ChunkSettings(tokens=16, overlap=0)):
        assert re.search(r"Example \d+$|Street$", text[chunk.start : chunk.end])


def test_the_page_is_that_on_which_a_chunk_begins() -> None:
    assert [page_of(start, (0, 10, 20)) for start in (0, 9, 10, 19, 20, 99)] == [1, 1, 2, 2, 3, 3]
    assert page_of(5, ()) is None


def test_an_overlap_must_be_smaller_than_a_chunk() -> None:
    with pytest.raises(ValueError, match="smaller"):
        ChunkSettings(tokens=30, overlap=30)


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_each_sentence_has_a_window(text: str) -> None:
    (chunk,) = split(text, ChunkSettings(window=64))
    assert chunk.windows[0] == (chunk.start, chunk.end)
    sentences = [text[start:end].strip() for start, end in chunk.windows[1:]]
    assert sentences == [one.strip() for one in re.split(r"(?<=[.!?]) |(?<=[。！？])", text.strip()) if one]


def test_a_long_sentence_has_windows_of_its_parts_and_marks_alone_have_none() -> None:
    text = "## Fares\n\n| --- | --- |\n" + "so many words, " * 40 + "and an end.\n***\n"
    (chunk,) = split(text, ChunkSettings(window=16))
    windows = [text[start:end] for start, end in chunk.windows[1:]]
    assert len(windows) > 8
    assert all(re.search(r"\w", window) for window in windows)
    assert all(tokenizer("o200k_base").count(window.strip()) <= 16 for window in windows)
    assert "Fares" in windows[0]
    assert not any("***" in window for window in windows[1:])


def _table(rows: int, head: str = "| Weight | Fee |\n| --- | :-: |\n") -> str:
    return head + "".join(f"| {10 * row} kg | {row} euros |\n" for row in range(1, rows))


@pytest.mark.parametrize("head", ["| Weight | Fee |\n| --- | :-: |\n", "Weight | Fee\n--- | ---\n"])
def test_each_chunk_of_a_table_has_the_names_of_its_columns(head: str) -> None:
    text = "# Parcels\n\nWhat we take.\n\n" + _table(60, head) + "\nRefunds take five days. " + ENGLISH * 3
    settings = ChunkSettings(tokens=64, overlap=8, window=32)
    chunks = split(text, settings, is_markdown=True)
    with_rows = [chunk for chunk in chunks if "euros" in text[chunk.start : chunk.end]]
    assert len(with_rows) > 8
    for chunk in with_rows:
        whole = chunk.head_in(text) + text[chunk.start : chunk.end]
        assert whole.count("Weight | Fee") == 1
        assert chunk.tokens == tokenizer("o200k_base").count(whole) <= settings.tokens
    assert all(f"| {row} euros" in "".join(text[one.start : one.end] for one in chunks) for row in range(1, 60))
    assert not any(chunk.head for chunk in chunks if "euros" not in text[chunk.start : chunk.end])


@pytest.mark.parametrize(
    "text",
    [
        _table(60, "|  |  |\n| --- | --- |\n"),
        _table(60, "| --- | --- |\n"),
        _table(60, "| " + "a very long name of a column " * 8 + "| Fee |\n| --- | --- |\n"),
        "this | that\n" * 60,
        "one line\n---\n" * 60,
    ],
    ids=["no names", "no head", "long head", "no table", "lines"],
)
def test_what_has_no_short_head_has_none_repeated(text: str) -> None:
    assert not any(chunk.head for chunk in split(text, ChunkSettings(tokens=64, overlap=8), is_markdown=True))
