"""Chat settings of users are checked before use, and answers of an ended process are marked."""

from typing import Any

import pytest

from threadkeeper.chat.wording import say
from threadkeeper.conversation.chat_settings import Choices, chosen_model
from threadkeeper.conversation.reply import mark_unfinished

DEFAULT = Choices("the default prompt", 0.7, 500)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, DEFAULT),
        ({"system_prompt": " Be brief. ", "temperature": 1.5, "max_tokens": 99.0}, Choices("Be brief.", 1.5, 99)),
        ({"system_prompt": "  ", "temperature": "hot", "max_tokens": None}, DEFAULT),
        ({"temperature": 9, "max_tokens": -3}, Choices("the default prompt", 2.0, None)),
        ({"temperature": float("nan"), "max_tokens": float("inf")}, DEFAULT),
        ({"temperature": True, "max_tokens": 0}, Choices("the default prompt", 0.7, None)),
        ({"temperature": "0.5", "max_tokens": "70"}, Choices("the default prompt", 0.5, 70)),
        ({"temperature": "nan", "max_tokens": ""}, DEFAULT),
        ({"temperature": 10**400, "max_tokens": 10**12}, Choices("the default prompt", 0.7, 10**12)),
        ({"system_prompt": "Be brief.", "no_system_prompt": True}, Choices("", 0.7, 500)),
        ({"system_prompt": "Be brief.", "no_system_prompt": "yes"}, Choices("Be brief.", 0.7, 500)),
        ({"system_prompt": ["x"], "temperature": -1}, Choices("the default prompt", 0.0, 500)),
    ],
)
def test_invalid_values_are_replaced(values: dict[str, Any], expected: Choices) -> None:
    assert Choices.from_values(values, DEFAULT) == expected


def test_a_system_prompt_has_a_maximum_length() -> None:
    assert len(Choices.from_values({"system_prompt": "x" * 10**6}, DEFAULT).system_prompt) == 20_000


@pytest.mark.parametrize("modes", [None, {}, {"model": "gone"}, {"model": ["b"]}, "b", {"model": None}])
def test_an_unknown_model_is_replaced_by_the_first(modes: Any) -> None:
    assert chosen_model(modes, ("a", "b")) == "a"
    assert chosen_model({"model": "b"}, ("a", "b")) == "b"


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_only_abandoned_answers_are_marked_as_cut_off(language: str) -> None:
    def step(name: str, **fields: Any) -> dict[str, Any]:
        return {"id": name, "type": "assistant_message", "streaming": True, "output": "so far", **fields}

    steps = [step("cut"), step("alive"), step("done", streaming=False), step("asked", type="user_message")]
    mark_unfinished(steps, {"alive"}, language)
    assert [one["streaming"] for one in steps] == [False, True, False, True]
    assert steps[0]["output"] == f"so far\n\n*{say('mark_cut', language)}*"
    assert {one["output"] for one in steps[1:]} == {"so far"}
