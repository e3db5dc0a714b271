from __future__ import annotations

import time

import pytest

from threadkeeper.chat.tokens import DEFAULT_WINDOW, context_window, counter_for


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        # OpenAI's example: https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
        ("gpt-4o-mini", 8),
        ("gpt-4.1", 8),
        ("o3-mini", 8),
        ("gpt-4", 9),
        ("gpt-4-turbo-2024-04-09", 9),
        ("gpt-3.5-turbo", 9),
    ],
)
async def test_counts_as_the_model_does(model: str, tokens: int) -> None:
    assert (await counter_for(model)).count("お誕生日おめでとう") == tokens


async def test_for_models_of_other_makers_a_tenth_is_added() -> None:
    text = "word " * 1000
    assert (await counter_for("llama3.1:8b")).count(text) == round(1.1 * (await counter_for("gpt-4o")).count(text))


async def test_special_tokens_and_broken_text_are_counted_like_any_other() -> None:
    counter = await counter_for("gpt-4o")
    assert counter.count("") == 0
    assert counter.count("<|endoftext|>") > 1
    assert counter.count("half \ud83d an emoji") > 3


async def test_a_text_of_any_length_can_be_counted() -> None:
    counter = await counter_for("gpt-4o")
    assert counter.count("word " * 250_000) == pytest.approx(250_000, rel=0.01)


@pytest.mark.budget
async def test_a_text_is_counted_once() -> None:
    counter = await counter_for("gpt-4o")
    text = "".join(f"{number} is a number, " for number in range(20_000))

    def seconds() -> float:
        began = time.perf_counter()
        counter.count(text)
        return time.perf_counter() - began

    first = seconds()
    assert min(seconds() for _ in range(5)) < first / 4


def test_windows_come_from_the_table() -> None:
    assert context_window("gpt-4o-mini") == 128_000
    assert context_window("gpt-4") == 8_192
    assert context_window("my-own-model") == DEFAULT_WINDOW
