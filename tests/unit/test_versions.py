"""Earlier versions of questions and answers are put together from what the store keeps."""

from dataclasses import replace
from typing import Any

import pytest

from datalayer import StepVersion
from threadkeeper.chat.model import ModelError
from threadkeeper.chat.wording import explain, is_own_message, mark_answer, mark_of, say
from threadkeeper.conversation.versions import Version, versions_of


def moment(second: int) -> str:
    return f"2026-03-01T10:00:{second:02}.000000Z"


def step(name: str, kind: str, output: str, second: int, **metadata: Any) -> dict[str, Any]:
    return {"id": name, "type": kind, "output": output, "createdAt": moment(second), "metadata": metadata}


def question(name: str, output: str, second: int) -> dict[str, Any]:
    return step(name, "user_message", output, second)


def answer(name: str, output: str, second: int, **metadata: Any) -> dict[str, Any]:
    return step(name, "assistant_message", output, second, **metadata)


def edited(name: str, output: str, made: int, replaced: int) -> StepVersion:
    return StepVersion(name, "edited", "user_message", "ann", output, moment(made), moment(replaced))


def removed(name: str, output: str, made: int, replaced: int, kind: str = "assistant_message") -> StepVersion:
    return StepVersion(name, "removed", kind, "x", output, moment(made), moment(replaced))


def test_a_thread_without_changes_has_no_versions() -> None:
    assert versions_of([question("q", "one", 0), answer("a", "1", 1)], []) == {}
    assert versions_of([], [removed("a", "1", 1, 2)]) == {}


def test_a_new_answer_and_an_edit_make_versions_with_the_text_of_their_time() -> None:
    steps = [question("q", "three", 0), answer("a3", "3", 21)]
    earlier = [
        removed("a1", "1", 1, 10),
        edited("q", "one", 0, 20),
        removed("a2", "2", 11, 20),
    ]
    found = versions_of(steps, earlier)["q"]
    assert found.all == (Version("one", "1"), Version("one", "2"), Version("three", "3"))
    assert (found.at, found.answer_id) == (2, "a3")


def test_a_version_that_was_put_back_is_not_a_new_one() -> None:
    steps = [question("q", "one", 0), answer("a1", "1", 21)]
    earlier = [removed("a1", "1", 1, 10), removed("a2", "2", 11, 20)]
    found = versions_of(steps, earlier)["q"]
    assert (found.all, found.at) == ((Version("one", "1"), Version("one", "2")), 0)
    assert [one.answer_id for one in found.all] == ["a1", "a2"]


def test_a_version_that_was_put_back_and_replaced_again_keeps_its_place() -> None:
    steps = [question("q", "one", 0), answer("a2", "2", 41)]
    earlier = [
        removed("a1", "1", 1, 10),
        edited("q", "one", 0, 10),
        removed("a2", "2", 11, 20),
        edited("q", "two", 0, 20),
        removed("a1", "1, continued", 21, 40),
        edited("q", "one", 0, 40),
    ]
    found = versions_of([{**steps[0], "output": "two"}, steps[1]], earlier)["q"]
    assert (found.all, found.at) == ((Version("one", "1, continued"), Version("two", "2")), 1)


def test_a_removed_answer_has_the_thought_of_its_time() -> None:
    def of_run(one: StepVersion, run: str | None) -> StepVersion:
        return replace(one, parent_id=run)

    steps = [question("q", "one", 0), answer("a4", "4", 50)]
    earlier = [
        of_run(removed("t1", "Hm, 1", 1, 10, "llm"), "run"),
        of_run(removed("a1", "1", 3, 10), "run"),
        # Once more in the same run, and continued later.
        of_run(removed("t2", "Hm, 2", 11, 20, "llm"), "run"),
        of_run(removed("a2", "2", 14, 20), "run"),
        of_run(removed("t3", "Hm, 2 it is", 16, 20, "llm"), "run"),
        of_run(removed("a3", "3", 31, 40), "another"),
        of_run(removed("t5", "Nobody's", 32, 40, "llm"), None),
    ]
    all_of_them = versions_of(steps, earlier)["q"].all
    assert [(one.thought, one.thought_seconds) for one in all_of_them] == [
        ("Hm, 1", 2),
        ("Hm, 2\n\nHm, 2 it is", 3),
        ("", None),
        ("", None),
    ]


def test_identical_answers_are_versions_of_their_own() -> None:
    steps = [question("q", "one", 0), answer("a2", "1", 21)]
    found = versions_of(steps, [removed("a1", "1", 1, 10)])["q"]
    assert (len(found.all), found.at) == (2, 1)


def test_each_question_has_its_own_versions() -> None:
    steps = [question("q1", "one", 0), answer("a1b", "1b", 31), question("q3", "three", 40), answer("a3", "3", 41)]
    earlier = [
        removed("a1", "1", 1, 30),
        removed("q2", "two", 10, 30, "user_message"),
        removed("a2", "2", 11, 30),
    ]
    found = versions_of(steps, earlier)
    assert found.keys() == {"q1"}
    assert found["q1"].all == (Version("one", "1"), Version("one", "1b"))


def test_a_removed_question_takes_no_later_answer() -> None:
    steps = [question("q1", "three", 0), answer("a3", "3", 41)]
    earlier = [
        edited("q1", "one", 0, 30),
        removed("a1", "1", 1, 30),
        removed("q2", "delta", 10, 30, "user_message"),
        removed("a-delta", "d", 11, 30),
        edited("q1", "two", 0, 40),
        removed("a2", "2", 31, 40),
    ]
    found = versions_of(steps, earlier)["q1"]
    assert found.all == (Version("one", "1"), Version("two", "2"), Version("three", "3"))
    assert found.at == 2


def test_errors_and_notices_are_no_versions_but_an_error_leads_back_to_an_answer() -> None:
    failed = explain(ModelError("server", "HTTP 500"), "en", model="m")
    notice = say("older_left_out", "en")
    earlier = [removed("e", failed, 1, 10), removed("n", notice, 2, 10)]
    assert versions_of([question("q", "one", 0), answer("a", "1", 11)], earlier) == {}
    steps = [question("q", "one", 0), answer("n2", notice, 20, status="notice"), answer("e2", failed, 21)]
    found = versions_of(steps, [*earlier, removed("a", "1", 11, 20)])["q"]
    assert (found.all[0], found.at, found.answer_id) == (Version("one", "1"), 1, "e2")


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_messages_of_the_chat_are_told_from_words_of_a_model(language: str) -> None:
    said = say("notice_cut", language, kept="1", total="2", name="a b.txt")
    assert is_own_message(said)
    assert is_own_message(f"{said}\n\n{say('older_left_out', language)}")
    assert not is_own_message(f"{said}\n\nAnd this is an answer.")
    assert not is_own_message("The model server failed.")
    assert not is_own_message("")


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_the_mark_of_an_answer_is_found_again(language: str) -> None:
    for mark in ("stopped", "cut", "length", "filtered"):
        assert mark_of(mark_answer("text", mark, language)) == mark
    assert mark_of("text") is None
