from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from threadkeeper.chat.context.token_worker import count_tokens
from threadkeeper.chat.context.tokens import DEFAULT_WINDOW, PRICED_WINDOW, _Worker, context_window, counter_for


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
async def test_token_counts_equal_the_models(model: str, tokens: int) -> None:
    assert await counter_for(model).count("お誕生日おめでとう") == tokens


async def test_a_tenth_is_added_for_models_of_other_vendors() -> None:
    text = "word " * 1000
    assert await counter_for("llama3.1:8b").count(text) == round(1.1 * await counter_for("gpt-4o").count(text))


async def test_special_tokens_and_invalid_text_are_counted_as_text() -> None:
    counter = counter_for("gpt-4o")
    assert await counter.count("") == 0
    assert await counter.count("<|endoftext|>") > 1
    assert await counter.count("half \ud83d an emoji") > 3


async def test_a_text_of_any_length_can_be_counted() -> None:
    counter = counter_for("gpt-4o")
    assert await counter.count("word " * 250_000) == pytest.approx(250_000, rel=0.01)


@pytest.mark.budget
async def test_a_text_is_counted_once() -> None:
    counter = counter_for("gpt-4o")
    text = "".join(f"{number} is a number, " for number in range(20_000))

    async def seconds() -> float:
        began = time.perf_counter()
        await counter.count(text)
        return time.perf_counter() - began

    # The vocabulary is loaded before.
    await counter.count("")
    first = await seconds()
    assert min([await seconds() for _ in range(5)]) < first / 4


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4", "llama3.1:8b"])
@given(text=st.text(st.characters(exclude_categories=()), max_size=200))
@example("\ud83d\ude00 as two halves, \ud83d as one")
@example("\U0010ffff\u0dca\u0a70 \x00\x07")
def test_no_count_exceeds_the_upper_bound(model: str, text: str) -> None:
    counter = counter_for(model)
    assert asyncio.run(counter.count(text)) <= counter.most(text)


@pytest.fixture
def worker() -> Iterator[_Worker]:
    worker = _Worker()
    yield worker
    worker.close()


def test_the_worker_process_counts_what_the_library_counts(worker: _Worker) -> None:
    # It loads three vocabularies, which takes seconds that other tests do not need.
    import bpe_openai  # type: ignore[import-untyped]  # noqa: PLC0415

    texts = [
        "",
        "Hello, world!",
        "お誕生日おめでとう",
        "half \ud83d an emoji",
        "x" * 60_000,
        "<|endoftext|>\r\n\t 12345 ",
    ]
    for vocabulary in ("o200k_base", "cl100k_base"):
        library = bpe_openai.get_encoding(vocabulary)
        expected = [len(library.encode_ordinary(text)) for text in texts if len(text) < 50_000]
        counted = worker.count(vocabulary, texts)
        assert [count for count, text in zip(counted, texts, strict=True) if len(text) < 50_000] == expected
        assert counted == count_tokens(vocabulary, texts)


def test_the_worker_finds_a_library_that_only_pythonpath_names(
    worker: _Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    library = tmp_path / "bpe_openai"
    library.mkdir()
    (library / "__init__.py").write_text(
        "class Encoding:\n    encode_ordinary = list\n\ndef get_encoding(name):\n    return Encoding\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert worker.count("o200k_base", ["hello there"]) == [11]
    assert caplog.records == []


def test_an_unused_worker_ends_and_is_started_again_when_needed() -> None:
    worker = _Worker(idle_seconds=0.2)
    assert worker.count("o200k_base", ["Hello, world!"]) == [4]
    first = worker._process
    assert first is not None
    assert first.wait(10) == 0
    assert worker.count("o200k_base", ["Hello, world!"]) == [4]
    assert worker._process is not first
    worker.close()


def test_a_killed_worker_loses_no_count(worker: _Worker) -> None:
    worker.count("o200k_base", [""])
    assert worker._process is not None
    worker._process.kill()
    assert worker.count("o200k_base", ["Hello, world!"]) == [4]


def test_the_server_counts_itself_if_no_process_can_be_started(
    worker: _Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subprocess, "Popen", _no_process)
    assert worker.count("o200k_base", ["Hello, world!"]) == [4]
    assert "tokens are counted in this process" in caplog.text


def _no_process(*_arguments: object, **_options: object) -> None:
    raise OSError("no more processes")


def test_windows_come_from_the_table() -> None:
    assert context_window("gpt-4o-mini") == 128_000
    assert context_window("gpt-4") == 8_192
    assert context_window("my-own-model") == DEFAULT_WINDOW


def test_a_name_with_a_provider_is_looked_up_at_that_provider() -> None:
    assert context_window("openai/gpt-4o") == context_window("gpt-4o") == 128_000
    assert context_window("openrouter/openai/gpt-4o") == 128_000
    assert context_window("OpenAI/GPT-4") == 8_192


def test_a_model_is_found_by_its_name_at_openrouter() -> None:
    assert context_window("meta-llama/llama-3.1-70b-instruct") == 131_072
    assert context_window("google/gemini-2.5-pro") == 1_048_576


@pytest.mark.parametrize("model", ["gemini-2.5-pro", "command-r", "qwen/qwen3-32b"])
def test_a_model_with_a_price_and_no_window_gets_a_larger_window_than_an_unknown_one(model: str) -> None:
    assert context_window(model) == PRICED_WINDOW > DEFAULT_WINDOW


@pytest.mark.parametrize("model", ["my/gpt-4o", "my/own/model", "openai/my-own-model", "/gpt-4o", "openai/", "/", ""])
def test_an_unknown_model_gets_the_smallest_window(model: str) -> None:
    assert context_window(model) == DEFAULT_WINDOW
