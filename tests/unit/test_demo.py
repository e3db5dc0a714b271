from __future__ import annotations

import pytest

from threadkeeper.chat.messages import ChatMessage, Part, absent_part, file_part, picture_parts, user_message
from threadkeeper.chat.model import Delta, Finish, ModelRequest
from threadkeeper.chat.providers import demo
from threadkeeper.chat.providers.demo import DemoModel


async def answer(messages: list[ChatMessage]) -> tuple[list[str], Finish]:
    *deltas, finish = [event async for event in DemoModel().stream(ModelRequest(messages, "demo"))]
    assert isinstance(finish, Finish)
    return [delta.text for delta in deltas if isinstance(delta, Delta)], finish


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SECONDS_PER_WORD", 0)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("What is the capital of France?", "This is a **demo**"),
        ("法国的首都是哪里？", "这是**演示**"),
        ("フランスの首都はどこですか", "This is a **demo**"),
    ],
)
async def test_the_demo_introduces_itself_in_the_users_language(question: str, says: str) -> None:
    words, finish = await answer([{"role": "user", "content": question}])
    text = "".join(words)
    assert text.startswith(says)
    assert "OPENAI_API_KEY" in text
    assert "OPENAI_BASE_URL" in text
    assert "Paris" not in text
    assert len(words) > 20
    assert finish.usage is None


async def test_the_demo_counts_messages_characters_and_attachments() -> None:
    attached: list[Part] = [
        file_part("notes.md", "text"),
        *picture_parts("cat.png", "data:image/png;base64,AA"),
        absent_part("old`.pdf", "gone"),
    ]
    messages: list[ChatMessage] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": '<file name="not-attached.txt">'},
        {"role": "assistant", "content": "demo"},
        user_message('<file name="typed.txt">', attached),
    ]
    text = "".join((await answer(messages))[0])
    assert "messages in the context: 4;" in text
    assert "characters in your message: 23." in text
    assert "Attached to it: `notes.md`, `cat.png`, `old'.pdf`." in text
    assert "attached.txt" not in text
    assert "typed.txt" not in text


async def test_complete_and_stream_return_the_same_text() -> None:
    messages: list[ChatMessage] = [{"role": "user", "content": "Hello"}]
    completion = await DemoModel().complete(ModelRequest(messages, "demo"))
    assert completion.text == "".join((await answer(messages))[0])
    assert DemoModel.demo
