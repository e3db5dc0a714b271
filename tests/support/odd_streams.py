"""What real servers of OpenAI's protocol send beside the protocol, for the scripted model server.

Tables of reports of usage, ends of a stream, whole bodies, first chunks and forms of content. A name in a table is the
second part of the model's name: `usage:thought-apart`, `ends:error-line`, `body:json-error`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BEGINNING = ["The ", "answer ", "begins ", "and "]
"""The tokens of an answer before an odd end."""

Usage = dict[str, Any]


@dataclass(frozen=True)
class UsageShape:
    """The usages of an answer: in its first chunk, with each token, and in its last chunk; each may be missing.

    The functions get the tokens of prompt and completion (of the completion so far, for each token). `thought`: output
    tokens that are billed and are not in the text. `is_report`: whether the usage says what is billed.
    """

    last: Callable[[int, int], Usage | None] = lambda _prompt, _completion: None
    first: Callable[[int], Usage | None] = lambda _prompt: None
    each: Callable[[int, int], Usage | None] = lambda _prompt, _completion: None
    place: str = "usage"
    thought: int = 0
    is_report: bool = True


def plain(prompt: int, completion: int) -> Usage:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _with(**more: Any) -> Callable[[int, int], Usage]:
    return lambda prompt, completion: {**plain(prompt, completion), **more}


_THOUGHT = 94

USAGES: dict[str, UsageShape] = {
    # xAI and Gemini: thought is not in the completion, but in the total.
    "thought-apart": UsageShape(
        lambda p, c: {**plain(p, c), "total_tokens": p + c + _THOUGHT, "reasoning_tokens": _THOUGHT}, thought=_THOUGHT
    ),
    "thought-in-details": UsageShape(
        lambda p, c: {
            **plain(p, c),
            "total_tokens": p + c + _THOUGHT,
            "completion_tokens_details": {"reasoning_tokens": _THOUGHT},
        },
        thought=_THOUGHT,
    ),
    "thought-unnamed": UsageShape(lambda p, c: {**plain(p, c), "total_tokens": p + c + _THOUGHT}, thought=_THOUGHT),
    # MiniMax.
    "zeros-with-each": UsageShape(plain, each=lambda _p, _c: {"total_tokens": 0, "total_characters": 0}),
    # Anthropic: tokens of the cache are not in the prompt.
    "cache-apart": UsageShape(
        lambda p, c: {"prompt_tokens": 1, "completion_tokens": c, "total_tokens": p + c, "cached_tokens": p - 1}
    ),
    "cache-by-anthropics-names": UsageShape(
        lambda p, c: {**plain(1, c), "cache_read_input_tokens": p - 2, "cache_creation_input_tokens": 1}
    ),
    "without-completion": UsageShape(lambda p, c: {"prompt_tokens": p, "total_tokens": p + c}),
    "without-prompt": UsageShape(lambda p, c: {"completion_tokens": c, "total_tokens": p + c}),
    "without-total": UsageShape(lambda p, c: {"prompt_tokens": p, "completion_tokens": c, "total_tokens": None}),
    "zero-total": UsageShape(_with(total_tokens=0)),
    "floats": UsageShape(lambda p, c: {"prompt_tokens": float(p), "completion_tokens": float(c)}),
    "texts": UsageShape(lambda p, c: {name: str(count) for name, count in plain(p, c).items()}),
    "other-names": UsageShape(lambda p, c: {"input_tokens": p, "output_tokens": c}),
    # vLLM with continuous usage, Perplexity and others: with every chunk.
    "growing": UsageShape(plain, lambda p: plain(p, 0), plain),
    "repeated": UsageShape(plain, place="usage x_groq"),
    "prompt-first": UsageShape(lambda _p, c: {"completion_tokens": c}, lambda p: plain(p, 0)),
    "zeros-at-the-end": UsageShape(lambda _p, _c: plain(0, 0), each=plain),
    # Groq, and Moonshot.
    "x_groq": UsageShape(plain, place="x_groq"),
    "choice": UsageShape(plain, place="choice"),
    # No reports.
    "zeros": UsageShape(lambda _p, _c: plain(0, 0), is_report=False),
    "zero-completion": UsageShape(lambda p, _c: plain(p, 0), is_report=False),
    "nulls": UsageShape(lambda _p, _c: dict.fromkeys(plain(0, 0)), is_report=False),
    "empty": UsageShape(lambda _p, _c: {}, is_report=False),
    "negative": UsageShape(lambda _p, _c: plain(-7, -9), is_report=False),
    "words": UsageShape(lambda _p, _c: {"prompt_tokens": "few", "completion_tokens": "many"}, is_report=False),
    "fractions": UsageShape(lambda _p, _c: {"prompt_tokens": 7.5, "completion_tokens": 9.25}, is_report=False),
    "list": UsageShape(lambda p, c: [p, c], is_report=False),  # type: ignore[arg-type, return-value]
    "more-than-total": UsageShape(lambda p, _c: {**plain(p, 900), "total_tokens": p + 1}, is_report=False),
    "total-only": UsageShape(lambda p, c: {"total_tokens": p + c + _THOUGHT}, thought=_THOUGHT, is_report=False),
    "more-cached-than-prompt": UsageShape(_with(prompt_tokens_details={"cached_tokens": 5_000}), is_report=False),
    "more-thought-than-output": UsageShape(_with(reasoning_tokens=5_000), is_report=False),
    "before-the-text": UsageShape(first=lambda p: plain(p, 1), is_report=False),
}


@dataclass(frozen=True)
class End:
    """The end of a stream after BEGINNING: bytes as they stand on the wire.

    `says`: what the log must contain; None if the answer is complete. `kind`: the kind of the error. `tokens`: those of
    prompt and completion that it reports.
    """

    wire: str
    says: str | None = None
    kind: str = "server"
    tokens: tuple[int, int] | None = None


DONE = "data: [DONE]\n\n"
_WORDS = "the GPU is on fire"


def _data(event: object) -> str:
    return f"data: {json.dumps(event)}\n\n"


def _chunk(choice: dict[str, Any], **more: Any) -> str:
    return _data({"id": "", "object": "chat.completion.chunk", "model": "", "choices": [choice], **more})


def _finish(reason: Any, **more: Any) -> str:
    return _chunk({"index": 0, "delta": {}, "finish_reason": reason, **more})


ENDS: dict[str, End] = {
    # vLLM and FastChat.
    "object-error": End(_data({"object": "error", "message": _WORDS, "code": 500}) + DONE, _WORDS),
    "error-code": End(_data({"text": _WORDS, "error_code": 50002}) + DONE, _WORDS),
    # llama.cpp's server until September 2025 (its pull request 16109).
    "error-line": End(f'error: {{"code":500,"message":"{_WORDS}","type":"server_error"}}\n\n{DONE}', _WORDS),
    "error-line-too-long": End(
        'error: {"code":400,"message":"the request exceeds the available context size"}\n\n' + DONE,
        "exceeds the available context size",
        "too_long",
    ),
    "error-words-line": End(f"Error: {_WORDS}\n\n{DONE}", _WORDS),
    # FastAPI.
    "detail": End(_data({"detail": _WORDS}) + DONE, _WORDS),
    "detail-list": End(_data({"detail": [{"loc": ["body"], "msg": _WORDS}]}) + DONE, _WORDS),
    "bare-detail": End(f'{{"detail": "{_WORDS}"}}\n', _WORDS),
    "event-error": End(f'event: error\ndata: {{"reason": "{_WORDS}"}}\n\n{DONE}', _WORDS),
    "event-error-words": End(f"event: error\ndata: {_WORDS}\n\n{DONE}", _WORDS),
    "event-error-empty": End(f"event: error\n\n{DONE}", "without words"),
    "comment": End(f': {{"error": {{"message": "{_WORDS}"}}}}\n\n{DONE}', _WORDS),
    "comment-words": End(f": error: {_WORDS}\n\n{DONE}", _WORDS),
    "bare-json": End(f'{{"error": {{"message": "{_WORDS}", "code": 500}}}}\n{DONE}', _WORDS),
    "text": End(_data({"error": _WORDS}) + DONE, _WORDS),
    "text-with-status": End(_data({"status": 500, "error": "Internal Server Error", "message": _WORDS}) + DONE, _WORDS),
    "message": End(_data({"error": {"message": _WORDS}}) + DONE, _WORDS),
    "errors": End(_data({"errors": [{"message": _WORDS}]}) + DONE, _WORDS),
    "object-error-with-choices": End(_data({"object": "error", "message": _WORDS, "choices": [{}]}) + DONE, _WORDS),
    "list": End(_data([{"error": {"code": 500, "message": _WORDS}}]) + DONE, _WORDS),
    "code-and-message": End(_data({"message": _WORDS, "code": 500}) + DONE, _WORDS),
    "code-and-msg": End(_data({"code": "Throttled", "msg": _WORDS, "choices": []}) + DONE, _WORDS, "rate_limit"),
    "message-only": End(_data({"message": _WORDS}) + DONE, _WORDS),
    "type-error": End(_data({"type": "error", "message": _WORDS}) + DONE, _WORDS),
    "type-error-inside": End(_data({"type": "error", "error": {"type": "x", "message": _WORDS}}) + DONE, _WORDS),
    "success-false": End(_data({"success": False, "msg": _WORDS}) + DONE, _WORDS),
    "base_resp": End(_data({"base_resp": {"status_code": 1013, "status_msg": _WORDS}, "choices": None}) + DONE, _WORDS),
    "x_groq": End(_data({"x_groq": {"error": _WORDS}, "choices": []}) + DONE, _WORDS),
    "choice": End(_finish("error", error={"code": 502, "message": _WORDS}) + DONE, _WORDS),
    "metadata": End(_data({"error": {"code": 502, "message": "x", "metadata": {"raw": _WORDS}}}) + DONE, _WORDS),
    "rate-limit": End(_data({"error": {"code": 429, "message": _WORDS}}) + DONE, _WORDS, "rate_limit"),
    "data-words": End(f"data: {_WORDS}\n\n{DONE}", _WORDS),
    "reason-error": End(_finish("error") + DONE, "finish_reason is error"),
    "reason-abort": End(_finish("abort") + DONE, "finish_reason is abort"),
    "comment-with-error": End(f": an upstream error, {_WORDS}\n\n{DONE}", _WORDS, "cut"),
    # Nothing says that the answer is complete.
    "stray-words": End(f"upstream went away: {_WORDS}\n\n{DONE}", _WORDS, "cut"),
    "closed": End("", "without a finish_reason", "cut"),
    "reason-null": End(_finish(None), "without a finish_reason", "cut"),
    "reason-empty": End(_finish(""), "without a finish_reason", "cut"),
    # After an answer with an ending from the same server, these are cut off as well.
    "done": End(DONE, "neither a finish_reason nor usage", "cut"),
    "reason-null-done": End(_finish(None) + DONE, "neither a finish_reason nor usage", "cut"),
    "reason-null-text-done": End(_finish("null") + DONE, "neither a finish_reason nor usage", "cut"),
    "bare-done": End("[DONE]\n\n", "neither a finish_reason nor usage", "cut"),
    "unknown-event-done": End(_data({"fault": {"string": _WORDS}}) + DONE, _WORDS, "cut"),
    # Complete.
    "stop": End(_finish("stop")),
    "stop-and-more": End(_finish("stop") + _data({"choices": [], "cost": "0"}) + DONE),
    "eos": End(_finish("eos") + DONE),
    "usage-only": End(_data({"choices": [], "usage": plain(40, 4)}) + DONE, tokens=(40, 4)),
    "nulls": End(_finish("stop") + _data({"error": None, "error_code": 0, "base_resp": {"status_code": 0}}) + DONE),
    "ping": End(": ping\n\nevent: ping\ndata: {}\n\ndata:\n\ndata: null\n\n" + _finish("stop") + DONE),
    "status": End(_data({"type": "status", "message": "queued"}) + _finish("stop") + DONE),
}


@dataclass(frozen=True)
class Body:
    """A whole body with status 200. `says`, `kind` and `tokens` as in `End`.

    `is_answer`: whether the server bills the prompt although it reports no tokens.
    """

    text: str
    content_type: str
    says: str | None = None
    kind: str = "server"
    tokens: tuple[int, int] | None = None
    is_answer: bool = False


_ERROR = json.dumps({"error": {"message": _WORDS, "code": 500}})
_COMPLETION = {
    "model": "body",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "A whole answer"}, "finish_reason": "stop"}],
    "usage": plain(40, 3),
}
_STREAM = "text/event-stream"

BODIES: dict[str, Body] = {
    "json-error": Body(_ERROR, _STREAM, _WORDS),
    "json-error-in-lines": Body(json.dumps(json.loads(_ERROR), indent=2), _STREAM, _WORDS),
    "json-detail": Body(json.dumps({"detail": _WORDS}), _STREAM, _WORDS),
    "json-error-as-json": Body(_ERROR, "application/json", _WORDS),
    "json-error-as-text": Body(_ERROR, "text/plain", _WORDS),
    "json-error-text": Body(json.dumps({"error": _WORDS}), "application/json", _WORDS),
    "json-unknown": Body(json.dumps({"fault": _WORDS}), "application/json", _WORDS),
    "html": Body(f"<html>\n\n<body>{_WORDS}</body></html>", "text/html", _WORDS),
    "html-as-stream": Body(f"<html><body>{_WORDS}</body></html>", _STREAM, _WORDS),
    "empty": Body("", _STREAM, "the answer is empty"),
    "empty-json": Body("", "application/json", "the answer is empty"),
    "done": Body(DONE, _STREAM, "no text", "empty", is_answer=True),
    "completion": Body(json.dumps(_COMPLETION), "application/json", tokens=(40, 3)),
    "completion-as-stream": Body(json.dumps(_COMPLETION), _STREAM, tokens=(40, 3)),
    "completion-in-lines": Body(json.dumps(_COMPLETION, indent=2), "text/plain; charset=utf-8", tokens=(40, 3)),
    "completion-in-an-event": Body(_data(_COMPLETION) + DONE, _STREAM, tokens=(40, 3)),
}

FIRST_CHUNKS: dict[str, list[str]] = {
    # Azure: what its filter thinks of the question, with empty names.
    "azure": [
        _data({"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [{"a": 1}]}),
        _chunk({"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}, "finish_reason": None}),
    ],
    "azure-async": [_chunk({"index": 0, "content_filter_results": {}, "content_filter_offsets": {}, "delta": None})],
    "empty-texts": [_chunk({"index": 0, "delta": {"role": "", "content": ""}, "finish_reason": ""})],
    "nulls": [
        _data({"id": None, "model": None, "choices": None, "usage": None}),
        _chunk({"index": 0, "delta": {"role": None, "content": None}, "finish_reason": None}, usage=None),
    ],
    "no-choice": [_data({"choices": [None]}), _data({"model": "   ", "choices": []}), _data({})],
    "groq": [_chunk({"index": 0, "delta": {"role": "assistant"}}, x_groq={"id": "req_1"})],
    "openrouter": [": OPENROUTER PROCESSING\n\n"] * 2,
    "anthropic": ['event: ping\ndata: {"type": "ping"}\n\n'],
    "perplexity": [_data({"model": "", "citations": [], "choices": [], "usage": plain(0, 0)})],
}

CONTENTS: dict[str, Callable[[str], Any]] = {
    "object": lambda text: {"type": "text", "text": text},
    "value": lambda text: [{"type": "text", "text": {"value": text, "annotations": []}}],
    "parts": lambda text: {"role": "model", "parts": [{"text": text}]},
    "texts": lambda text: [text, "", None],
}
"""Contents of a delta or message that are no text."""

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
_PNG = base64.b64encode(PNG).decode()
_URL = {"url": f"data:image/png;base64,{_PNG}"}

OTHERS: dict[str, dict[str, Any]] = {
    # With bytes: these are shown.
    "images": {"images": [{"type": "image_url", "image_url": _URL, "index": 0}]},
    "image": {"image": _URL},
    "image-part": {"content": [{"type": "image_url", "image_url": _URL}]},
    "inline-data": {"content": {"role": "model", "parts": [{"inlineData": {"mimeType": "image/png", "data": _PNG}}]}},
    "source": {"content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _PNG}}]},
    # Without.
    "address": {"images": [{"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}]},
    "no-picture": {"images": [{"image_url": {"url": "data:image/svg+xml;base64,PHN2Zz48L3N2Zz4="}}, None, 7, "x", []]},
    "audio": {"audio": {"id": "audio_1", "data": "UklGRg==", "transcript": "Hello"}},
    "inline-sound": {"content": {"parts": [{"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}]}},
    "tool_calls": {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "look_up", "arguments": "{}"}}]},
    "function_call": {"function_call": {"name": "look_up", "arguments": "{}"}},
    "tool-use": {"content": [{"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {}}]},
    "file": {"content": [{"type": "file", "file": {"file_id": "file_1"}}]},
}
"""What an answer has beside its text, as the fields of a delta."""

Choice = dict[str, Any]
ChoicesOf = Callable[[Choice, int, int], list[list[Choice]]]
"""The choices of the chunks for one token, from its own choice, its number from 0, and the number of tokens.
After the last token it gets the choice with the finish_reason."""


def _other(index: int, text: str = "other ") -> Choice:
    return {"index": index, "delta": {"content": text}, "finish_reason": None}


def _after(choice: Choice, number: int, count: int) -> list[list[Choice]]:
    if number < count:
        return [[choice]]
    return [[choice], *([_other(1)] for _ in range(count)), [{**choice, "index": 1}]]


CHOICES: dict[str, ChoicesOf] = {
    # Foundry Local, and Text Generation Inference, which counts from 1.
    "counted": lambda choice, number, _count: [[{**choice, "index": number}]],
    "counted-from-1": lambda choice, number, _count: [[{**choice, "index": number + 1}]],
    "counted-in-words": lambda choice, number, _count: [[{**choice, "index": str(number)}]],
    "without": lambda choice, _number, _count: [[{**choice, "index": None}]],
    # Servers that are set to send several choices.
    "beside": lambda choice, _number, _count: [[choice, _other(1)]],
    "before": lambda choice, _number, _count: [[_other(1), choice]],
    "between": lambda choice, _number, _count: [[choice], [_other(1)]],
    "three-between": lambda choice, _number, _count: [[choice], [_other(1)], [_other(2)]],
    "after": _after,
}
