"""Questions and answers that people edit: what is written is read again, and changes of several people are merged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadkeeper.knowledge.loaders.base import LoadOptions, Taken
from threadkeeper.knowledge.loaders.pairs import PairsLoader
from threadkeeper.knowledge.loading import LoadLimits, LoadRefused
from threadkeeper.knowledge.pairs import LONGEST_ANSWER, EditedPair, Pair, merged, read_pairs, written

ALICE, BOB, CAROL = Pair("Who is Alice?", "A."), Pair("Who is Bob?", "B."), Pair("Who is Carol?", "C.")
STORED = [ALICE, BOB, CAROL]

text = (
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from(',;\t|"\n'), min_size=1)
    .map(str.strip)
    .filter(bool)
)
pairs = st.lists(st.builds(Pair, text, text), min_size=1, max_size=8, unique_by=lambda one: one.question)


@given(pairs)
def test_what_is_written_is_read_again(stored: list[Pair]) -> None:
    loaded = PairsLoader().load(written(stored), LoadOptions(), Taken())
    assert [(one.key, one.text) for one in loaded] == [
        (one.question, f"{one.question}\n\n{one.answer}") for one in stored
    ]


async def test_a_file_that_people_wrote_is_read_and_what_is_no_pair_is_told() -> None:
    content = '问;答\n几点开门？;"九点；\r\n周日休息。"\n没有答案;\n'.encode()
    found, taken = await read_pairs(content, LoadLimits())
    assert found == [Pair("几点开门？", "九点；\n周日休息。")]
    assert taken.left_out == [("part_without_answer", {"count": 1})]
    with pytest.raises(LoadRefused):
        await read_pairs(b"question,answer\n", LoadLimits())


def row(pair: Pair, question: str | None = None, answer: str | None = None, *, is_removed: bool = False) -> EditedPair:
    return EditedPair(pair.key, question or pair.question, answer or pair.answer, is_removed)


def test_pairs_are_changed_removed_and_added() -> None:
    rows = [
        row(ALICE),
        row(BOB, answer=" B! "),
        row(CAROL, is_removed=True),
        EditedPair("", "Who is Dan?", "D."),
        EditedPair("", " ", ""),
    ]
    done = merged(STORED, rows)
    assert (done.pairs, done.problems) == ([ALICE, Pair("Who is Bob?", "B!"), Pair("Who is Dan?", "D.")], {})


def test_two_who_edit_different_pairs_lose_nothing() -> None:
    first = merged(STORED, [row(ALICE, answer="by Ada"), row(BOB), row(CAROL)])
    second = merged(first.pairs, [row(ALICE), row(BOB, answer="by Uma"), row(CAROL)])
    assert [one.answer for one in second.pairs] == ["by Ada", "by Uma", "C."]
    assert not second.problems


def test_a_pair_that_somebody_changed_meanwhile_is_told() -> None:
    first = merged(STORED, [row(ALICE, answer="by Ada"), row(BOB, is_removed=True)])
    second = merged(first.pairs, [row(ALICE, answer="by Uma"), row(BOB, answer="by Uma"), row(CAROL, answer="C!")])
    assert second.problems == {0: "changed", 1: "changed"}


def test_questions_are_asked_once_and_may_change_places() -> None:
    assert merged(STORED, [row(ALICE, BOB.question)]).problems == {0: "repeated"}
    assert merged(STORED, [EditedPair("", ALICE.question, "again")]).problems == {0: "repeated"}
    twice = [EditedPair("", "New?", "1"), EditedPair("", "New?", "2")]
    assert merged(STORED, twice).problems == {1: "repeated"}
    exchanged = merged(STORED, [row(ALICE, BOB.question), row(BOB, ALICE.question)])
    assert [one.question for one in exchanged.pairs] == [BOB.question, ALICE.question, CAROL.question]
    again = merged(STORED, [row(ALICE, is_removed=True), EditedPair("", ALICE.question, "again")])
    assert (again.problems, again.pairs[-1]) == ({}, Pair(ALICE.question, "again"))


def test_a_pair_is_whole_and_not_too_long() -> None:
    rows = [
        EditedPair("", "A question?", " "),
        EditedPair(ALICE.key, "", ""),
        EditedPair(BOB.key, BOB.question, "x" * (LONGEST_ANSWER + 1)),
    ]
    assert merged(STORED, rows).problems == {0: "incomplete", 1: "incomplete", 2: "long"}
