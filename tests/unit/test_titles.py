from __future__ import annotations

import json

import pytest

from tests.support.model_server import ModelServer
from threadkeeper.chat.model import Model, Purpose
from threadkeeper.chat.providers.demo import DemoModel
from threadkeeper.chat.titles import LONGEST_TITLE, TitleMissed, make_title, title_of


async def test_the_model_writes_the_title(model_server: ModelServer, model: Model) -> None:
    title = await make_title(model, "How do vaccines work?", "They train…", title_model='say:"How Vaccines Work."')
    assert title == "How Vaccines Work"
    sent = model_server.requests[0].body
    assert "How do vaccines work?" in json.dumps(sent["messages"])
    assert "They train" in json.dumps(sent["messages"])
    assert sent["max_tokens"] > LONGEST_TITLE


async def test_a_long_thread_is_shortened_for_the_title(model_server: ModelServer, model: Model) -> None:
    await make_title(model, "q" * 100_000, "a" * 100_000, title_model="say:Letters")
    assert len(json.dumps(model_server.requests[0].body)) < 6000


@pytest.mark.parametrize("name", ["401", "unknown", "empty", "say:..."])
async def test_the_reason_for_a_missing_title_is_logged(
    model: Model, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    assert await make_title(model, "q", "a", title_model=name, purpose=Purpose("title", thread_id="thread-7")) is None
    assert "thread thread-7" in caplog.text


@pytest.mark.parametrize("name", ["500", "html"])
async def test_a_title_is_missed_while_the_model_is_away(
    model: Model, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    with pytest.raises(TitleMissed, match=f"the model {name} gave no title"):
        await make_title(model, "q", "a", title_model=name, purpose=Purpose("title", thread_id="thread-7"))
    assert "thread thread-7" in caplog.text


async def test_a_slow_title_is_abandoned(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TitleMissed):
        await make_title(model, "q", "a", title_model="hang", timeout_seconds=0.1)
    assert "within 0.1 s" in caplog.text


async def test_the_demo_takes_the_title_from_the_question() -> None:
    title = await make_title(DemoModel(), "\n\n  What is   the capital?\nThanks!", "demo", title_model="demo")
    assert title == "What is the capital?"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Title: “Plans for a Garden”", "Plans for a Garden"),
        ("**Plans for a Garden**\n\nThis title…", "Plans for a Garden"),
        ("标题：《花园计划》", "花园计划"),
        ("# C++ and C#", "C++ and C#"),
        ("Why 1.5?", "Why 1.5?"),
        ("…\n—\n", None),
        ("", None),
        ("word " * 30, "word word word word word word word word word word word…"),
        ("字" * 100, "字" * 59 + "…"),
    ],
)
def test_a_title_is_one_short_line(text: str, title: str | None) -> None:
    assert title_of(text) == title
    assert title is None or len(title) <= LONGEST_TITLE


async def test_the_title_does_not_contain_the_models_reasoning(model: Model) -> None:
    name = "say:<think>The user wants\na title</think>\n\nGarden Plans"
    assert await make_title(model, "q", "a", title_model=name) == "Garden Plans"


@pytest.mark.parametrize("name", ["think-limit:unclosed", "think-limit:reasoning_content", "think-only:mistral"])
async def test_a_title_cut_inside_its_thought_is_no_title(
    model: Model, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    assert await make_title(model, "q", "a", title_model=name) is None
    assert "used its tokens up in thought" in caplog.text


@pytest.mark.parametrize("shape", ["closing", "brackets", "openrouter", "anthropic"])
async def test_the_title_is_the_text_after_the_thought(model: Model, shape: str) -> None:
    title = await make_title(model, "q", "a", title_model=f"think:{shape}")
    assert title is not None
    assert title.startswith("You said")
