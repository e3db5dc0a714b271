"""Answers with pictures, sound or calls of tools: pictures are given out, and the rest is told."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from datalayer import Assistant, AssistantSettings
from tests.support.model_server import API_KEY, ModelServer
from tests.support.odd_streams import OTHERS, PNG
from tests.unit.test_answer import Sink
from tests.unit.test_model import ECHO, request_for
from threadkeeper.chat.answer import Outcome, stream_answer
from threadkeeper.chat.model import AnswerPart, ContentKind, Delta, Model, ModelError, NotShown, Picture
from threadkeeper.chat.providers import create_model, other_content
from threadkeeper.chat.providers.openai_answers import StreamReading, read_completion
from threadkeeper.chat.providers.thought import AnswerReader, joined
from threadkeeper.chat.trying import Trial
from threadkeeper.chat.wording import explain
from threadkeeper.offered_models import OfferedModels

PICTURE = Picture("image/png", PNG)
KINDS: dict[str, ContentKind] = {
    "address": "pictures",
    "no-picture": "pictures",
    "audio": "sound",
    "inline-sound": "sound",
    "tool_calls": "calls",
    "function_call": "calls",
    "tool-use": "calls",
    "file": "files",
}


@pytest.fixture
async def model(model_server: ModelServer) -> AsyncIterator[Model]:
    connected = create_model(api_key=API_KEY, base_url=model_server.base_url, timeout_seconds=60)
    yield connected
    await connected.close()


async def outcome_of(model: Model, name: str) -> Outcome:
    return await stream_answer(model, request_for(name), Sink())


async def test_what_an_answer_has_beside_its_text_is_found(
    model: Model, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    for name in OTHERS:
        with subtests.test(name):
            caplog.clear()
            outcome = await outcome_of(model, f"others:{name}")
            assert (outcome.text, outcome.status, outcome.error) == (ECHO, "complete", None)
            kind = KINDS.get(name)
            assert outcome.pictures == ([] if kind else [PICTURE])
            assert outcome.not_shown == ([kind] if kind else [])
            assert ("which the chat does not show" in caplog.text) == (kind is not None)


async def test_an_answer_without_text_is_its_picture_or_an_error(model: Model, subtests: pytest.Subtests) -> None:
    for name in OTHERS:
        with subtests.test(name):
            outcome = await outcome_of(model, f"others:{name}:alone")
            kind = KINDS.get(name)
            if kind is None:
                assert (outcome.status, outcome.error, outcome.pictures) == ("complete", None, [PICTURE])
                continue
            assert outcome.status == "error"
            assert outcome.error is not None
            assert (outcome.error.kind, outcome.error.values["kinds"]) == ("not_shown", (kind,))


async def test_a_whole_answer_has_the_same_content(model: Model, subtests: pytest.Subtests) -> None:
    for name in OTHERS:
        with subtests.test(name):
            completion = await model.complete(request_for(f"others:{name}:alone"))
            assert completion.text == ""
            assert completion.others == ((NotShown(KINDS[name]),) if name in KINDS else (PICTURE,))


def test_the_user_is_told_in_both_languages() -> None:
    error = ModelError("not_shown", "", {"kinds": ("sound", "calls")})
    assert explain(error, "en", model="m") == (
        "The model “m” answered only with sound and a call of a tool, which this chat does not show. "
        "Ask for an answer in words, or choose another model and send the message again."
    )
    assert "音频和工具调用" in explain(error, "zh-CN", model="m")


@pytest.mark.parametrize("name", ["others:images:alone", "others:tool_calls:alone", "empty", "think-only:reasoning"])
async def test_the_trial_of_an_assistant_says_why_there_is_no_text(model: Model, name: str) -> None:
    trial = Trial(model, offered=OfferedModels((name,)), default_prompt="")
    assistant = Assistant("1", "helper", 1, 1, AssistantSettings(name="Helper"))
    tried = await trial(assistant, "hello", user_id="1", language="en")
    assert tried.error is not None
    assert ("does not show" in tried.error) == name.startswith("others")


def read(*deltas: object) -> list[AnswerPart]:
    reading = StreamReading("")
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    events = reading.feed("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode())
    assert reading.failure is None
    return events


def url(data: bytes) -> dict[str, Any]:
    return {"images": [{"image_url": {"url": f"data:image/png;base64,{base64.b64encode(data).decode()}"}}]}


def test_a_picture_and_a_kind_come_once() -> None:
    call = OTHERS["tool_calls"]
    assert read(url(PNG), call, call, {"content": "a"}, url(PNG)) == [PICTURE, NotShown("calls"), Delta("a")]


def test_the_size_and_the_number_of_pictures_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [PNG + bytes([number]) for number in range(other_content.MOST_PICTURES + 1)]
    events = read(*map(url, pictures))
    assert events == [*(Picture("image/png", one) for one in pictures[:-1]), NotShown("pictures")]
    monkeypatch.setattr(other_content, "MOST_PICTURE_CHARACTERS", 88)
    assert read(url(PNG)) == [NotShown("pictures")]


def test_names_and_empty_values_are_no_content() -> None:
    fields = ("images", "image", "audio", "tool_calls", "function_call")
    empties: tuple[object, ...] = (None, [], {}, "", 0, False)
    for empty in empties:
        assert read({"content": "a"} | dict.fromkeys(fields, empty)) == [Delta("a")]
    assert read({"content": [{"type": "text", "text": "a"}, {"type": "reference", "reference_ids": [1]}]}) == [
        Delta("a")
    ]


def test_pictures_of_a_thought_are_not_shown_and_not_told() -> None:
    part = {"thought": True, "inlineData": {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}}
    assert read({"content": {"parts": [part, {"text": "a"}]}}) == [Delta("a")]


def test_text_between_pictures_keeps_its_place() -> None:
    part = OTHERS["image-part"]["content"][0]
    assert read({"content": [{"type": "text", "text": "a"}, part, "b"]}, {"content": "c"}) == [
        Delta("ab"),
        PICTURE,
        Delta("c"),
    ]


@pytest.mark.parametrize("value", [7, True, "data:,", "data:image/png;base64,", {"url": None}, [[[[[[{}]]]]]]])
def test_values_of_another_kind_are_told_and_break_nothing(value: object) -> None:
    assert read({"images": value, "content": "a"}) == [Delta("a"), NotShown("pictures")]


def test_an_answer_in_one_piece_that_was_streamed_keeps_its_pictures() -> None:
    """The body of a server that does not stream."""
    body = {"choices": [{"message": {"content": "a", **url(PNG)}, "finish_reason": "stop"}]}
    reading = StreamReading("")
    events = [*reading.feed(json.dumps(body).encode()), *reading.end()]
    assert (events, reading.failure) == ([Delta("a"), PICTURE], None)
    assert read_completion(json.dumps(body).encode(), "").others == (PICTURE,)


LARGE = PNG + bytes(1000)
MARKDOWN = f"![a cat](data:image/png;base64,{base64.b64encode(LARGE).decode()})"


URL = f"data:image/png;base64,{base64.b64encode(LARGE).decode()}"


@pytest.mark.parametrize("size", [1, 3, 700, 100_000])
@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (f"Look! Here: {MARKDOWN} and !{MARKDOWN}!", "Look! Here:  and !!"),
        (URL, ""),
        (f"\n{URL}\n\nA cat.", "\n\n\nA cat."),
        (f'A cat: <img alt="a cat" src="{URL}" width=3> and <IMG SRC=\'{URL}\'/>.', "A cat:  and ."),
        (f'[A cat]({URL}), as `{URL}` or <b>"{URL}"</b>', '[A cat](), as `` or <b>""</b>'),
    ],
)
def test_a_picture_in_the_text_is_taken_out_of_it(size: int, text: str, rest: str) -> None:
    reading = StreamReading("")
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    chunks = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    events = reading.feed("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode())
    thought, said, others = joined([*events, *reading.end()])
    assert (thought, said, others) == ("", rest, (Picture("image/png", LARGE),))


@pytest.mark.parametrize(
    "text",
    [
        "![a cat](https://example.org/cat.png) and ![",
        "Wow! ![x](data:image/png;base64,iVBORw0KGgo=) in Markdown",
        "a! b!! ![alt] ![](data:text/plain;base64,aGk=)!",
        "![" + "x" * 400 + "](data:image/png;base64,AAAA)",
        "!",
        "data:image/png;base64,iVBORw0KGgo= and data:",
        f"metadata:image/png;base64,{'A' * 2000} and d",
        "a < b, <i>da</i> <img src=cat.png> <img alt='" + "x" * 400 + "'> <img ",
    ],
)
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_other_text_stays_as_it_is(text: str, size: int) -> None:
    reader = AnswerReader()
    for at in range(0, len(text), size):
        reader.take({"content": text[at : at + size]})
    reader.end()
    assert joined(reader.events()) == ("", text, ())


def test_a_picture_that_breaks_off_or_is_none_is_told() -> None:
    svg = base64.b64encode(b"<svg/>" * 300).decode()
    for text in (MARKDOWN[:900], f"![](data:image/svg+xml;base64,{svg})", f"data:image/svg+xml;base64,{svg}"):
        reader = AnswerReader()
        reader.take({"content": f"a {text}"})
        reader.end()
        assert joined(reader.events()) == ("", "a ", (NotShown("pictures"),))
