"""The models that a request names, for keys that allow some models only; and lists of events that were cut."""

import json

import pytest

from threadkeeper.chat.model import TokenUsage
from threadkeeper.gateway.answers import answer_of
from threadkeeper.gateway.copies import Copy
from threadkeeper.gateway.named_models import fallback_models, model_of_form

_TYPE = "multipart/form-data; boundary=line"
_FILE = b'Content-Disposition: form-data; name="file"; filename="my model.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF'
_MODEL = b'Content-Disposition: form-data; name="model"\r\n\r\necho'


def form(*parts: bytes) -> bytes:
    return b"".join(b"--line\r\n%b\r\n" % part for part in parts) + b"--line--\r\n"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (_TYPE, form(_MODEL, _FILE)),
        ('multipart/form-data; boundary="line"', form(_FILE, _MODEL)),
        (_TYPE, form(_FILE.replace(b"RIFF", b"RIFF" * 40_000), _MODEL)),
        (_TYPE, form(_MODEL.replace(b'"model"', b"model"), _FILE)),
        (_TYPE, form(b"Content-Type: text/plain; charset=utf-8\r\n" + _MODEL, _FILE)),
        (_TYPE, form(_MODEL, _FILE.replace(b'.wav"', b".wav\"; filename*=utf-8''my%20model.wav"))),
        (_TYPE, form(_MODEL, b'Content-Disposition: form-data; name="timestamps[]"\r\n\r\nword')),
    ],
)
def test_the_model_of_a_form_may_stand_anywhere(kind: str, body: bytes) -> None:
    assert model_of_form(kind, body) == "echo"


_OTHER = _MODEL.replace(b"echo", b"gpt-x")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (_TYPE, form(_FILE)),
        (_TYPE, form(_MODEL, _FILE, _OTHER)),
        (_TYPE, form(_MODEL, _FILE.replace(b"RIFF", b"RIFF" * 40_000), _OTHER)),
        *(
            (_TYPE, form(_MODEL, _OTHER.replace(b'"model"', name)))
            for name in (b'"Model"', b'"model"; x=y', b'"mod\\el"', b'"a"; name="model"', b'"model[]"', b'"models"')
        ),
        (_TYPE, form(_MODEL, _OTHER.replace(b"form-data; ", b"form-data;\r\n "))),
        (_TYPE, form(_MODEL, _OTHER.replace(b"\r\n\r\n", b"\r\nContent-Disposition: form-data; name=x\r\n\r\n"))),
        (_TYPE, form(_MODEL, _OTHER.replace(b"\r\n\r\n", b"\n\n"))),
        (_TYPE, form(_MODEL, _FILE + b"\n--line\r\n" + _OTHER)),
        (_TYPE, form(_MODEL) + _OTHER),
        (_TYPE, b'{"model": "gpt-x"}\r\n' + form(_MODEL)),
        ("text/plain", form(_MODEL)),
        (f"{_TYPE}; boundary=other", form(_MODEL)),
        (_TYPE, b""),
        (_TYPE, form(*[_FILE] * 1_000, _MODEL)),
        (_TYPE, form(_MODEL, b"X: " + b"y" * 8_000 + b"\r\n" + _FILE)),
    ],
)
def test_a_form_that_could_name_another_model_names_none(kind: str, body: bytes) -> None:
    assert model_of_form(kind, body) is None


def test_the_models_that_answer_in_place_of_the_first_are_read() -> None:
    body = {"model": "a", "models": ["a", "b", 5], "fallbacks": [{"model": "c"}, {"other": 1}, "d"]}
    assert list(fallback_models(body)) == ["a", "b", "(int)", "c", "(dict)", "d"]
    assert list(fallback_models({"models": "b", "fallbacks": None})) == ["b"]
    assert list(fallback_models({"model": "a", "models": []})) == []


async def test_the_events_of_a_list_without_its_end_are_read() -> None:
    events = [
        {"candidates": [{"content": {"parts": [{"text": word}]}}], "usageMetadata": usage}
        for word, usage in (
            ("Hello, ", {"promptTokenCount": 5, "candidatesTokenCount": 2}),
            ("you", {"promptTokenCount": 5, "candidatesTokenCount": 3}),
        )
    ]
    whole = json.dumps(events, indent=1).encode()
    for end, text, usage in (
        (len(whole), "Hello, you", TokenUsage(5, 3)),
        (-2, "Hello, you", TokenUsage(5, 3)),
        (-20, "Hello, ", TokenUsage(5, 2)),
        (20, "", None),
    ):
        copy = Copy(answer_of("gemini"), status=200, content_type="application/json", content_encoding="")
        await copy.feed(whole[:end])
        await copy.finish()
        assert (copy.answer.text, copy.answer.usage) == (text, usage)
        assert (copy.problem is None) == (end == len(whole))
