"""Reads the errors that servers report: in the body of a refused request, and in an event or an answer with status 200.

OpenAI's own form is `{"error": {"message", "code", "type", "param"}}`. Other servers write `{"error": "…"}` (Ollama,
xAI), `{"error": true, "message": …}`, `{"errors": [{"message"}]}` (Cloudflare), a list around the object (Gemini),
`{"detail": …}` with a text or a list of `{"loc": ["body", "stream_options"], "msg": …}` (FastAPI), that list in
`message` (Mistral), `{"object": "error", …}` (vLLM, FastChat), `{"error_code": 50001, "text": …}` (FastChat),
`{"code", "message"}` or `{"code", "msg"}` (gateways), `{"type": "error", …}`, `{"base_resp": {"status_code",
"status_msg"}}` (MiniMax), `{"x_groq": {"error"}}` (Groq), or an error beside or inside of a choice (OpenRouter).

With status 200, an empty value is no error: many servers send `"error": null`, `"error_code": 0` or `"base_resp":
{"status_code": 0}` with every token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

_NUMBERS = ("error_code", "errorCode", "errcode")
_NAMES = frozenset({"error", "errors", *_NUMBERS, "base_resp", "x_groq", "success"})
_CODES = ("code", *_NUMBERS, "status_code", "type", "status")
_WORDS = ("message", "Message", "error_message", "errorMessage", "error_msg", "errmsg", "status_msg", "msg", "detail")
# How a message names a parameter whose name is a common word.
_NAMED = {
    "stream": r"""['"`]stream['"`]|\bstreaming (mode )?(is )?(currently )?(not |un)(supported|available|allowed)"""
    r"""|\b(not|n't) (support|allow) streaming|to stream this model""",
    "stop": r"""['"`]stop['"`]|\bstop (?:sequence|parameter|word|string)s?\b|\b(?:parameter|argument|field):? stop\b""",
}
# Values of a code that say that all is well.
_FINE = (None, False, 0, "", "0", 200, "200", "ok", "success", "Success", "OK")


@dataclass(frozen=True, slots=True)
class ReportedError:
    """What a server said. `fields`: the fields of the request that it names, such as "messages"."""

    code: str = ""
    message: str = ""
    fields: tuple[str, ...] = ()


def read_error(body: object) -> ReportedError:
    """The error in the body of a refused request, as JSON; `ReportedError()` if there is nothing to read."""
    if isinstance(body, list):
        body = body[0] if body else None
    if not isinstance(body, Mapping):
        return ReportedError(message=str(body)) if body else ReportedError()
    inner = next((found for found in _inner(body) if found and not _is_blank(found)), body)
    return _described(inner, body)


def named_parameter(said: ReportedError, names: Sequence[str]) -> str | None:
    """The one of these parameters that an error is about; None if it names none of them."""
    for name in names:
        if name in said.fields:
            return name
    for name in names:
        if re.search(_NAMED.get(name, rf"\b{name}\b"), said.message, re.IGNORECASE):
            return name
    return None


def find_error(event: object) -> ReportedError | None:
    """The error in an event or answer; None if it reports none."""
    if isinstance(event, dict):
        # First of all what is true of nearly every token.
        choices = event.get("choices")
        is_plain = choices and event.keys().isdisjoint(_NAMES) and event.get("object") != "error"
        return None if is_plain else _error_of(event, choices)
    if isinstance(event, list):
        return next((found for one in event if (found := find_error(one)) is not None), None)
    return None


def error_of_choice(choice: Mapping[str, Any]) -> ReportedError | None:
    """The error inside of a choice, as OpenRouter sends it."""
    found = choice.get("error")
    return _with_words(found, choice) if found and not _is_blank(found) else None


def named_error(payload: bytes) -> ReportedError:
    """The error of an SSE event named `error`, with any data."""
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError):
        event = payload.decode(errors="replace")
    return find_error(event) or _with_words(event or "an error without words", {})


def _inner(body: Mapping[str, Any]) -> list[object]:
    """Where the error is, in most bodies."""
    groq = body.get("x_groq")
    return [
        *(body.get("error"), body.get("errors"), body.get("base_resp")),
        groq.get("error") if isinstance(groq, dict) else None,
    ]


def _error_of(event: dict[str, Any], choices: object) -> ReportedError | None:
    found = event.get("error") or event.get("errors")
    if found and not _is_blank(found):
        return _with_words(found, event)
    if any(event.get(name) not in _FINE for name in _NUMBERS) or _says_error(event):
        return _with_words(event, event)
    for inner in (event.get("base_resp"), event.get("x_groq")):
        if isinstance(inner, dict) and (inner.get("error") or inner.get("status_code") not in _FINE):
            return _with_words(inner.get("error") or inner, inner)
    return None if choices else _bare_error(event)


def _says_error(event: Mapping[str, Any]) -> bool:
    if event.get("object") == "error" or event.get("success") is False:
        return True
    kind = event.get("type")
    return isinstance(kind, str) and "error" in kind.lower() and not event.get("choices")


def _bare_error(event: Mapping[str, Any]) -> ReportedError | None:
    """The error of an object that has words and no choices.

    Without a code, words alone are an error only in an object that names no kind: `{"type": "status", "message":
    "queued"}` is none.
    """
    words = [event[name] for name in _WORDS if _has_words(event.get(name))]
    if not words or words[0] in _FINE:
        return None
    if event.get("code") not in _FINE:
        return _with_words(event, event)
    has_kind = any(event.get(name) for name in ("type", "object", "event")) or "choices" in event
    is_fine = any(event.get(name) is not None and event[name] in _FINE for name in ("code", "status_code", "status"))
    return None if has_kind or is_fine else _with_words(event, event)


def _has_words(value: object) -> bool:
    # A dictionary would be a message with role and content.
    return bool(value) and isinstance(value, str | list)


def _with_words(error: object, around: Mapping[str, Any]) -> ReportedError:
    """The error, with all of it as its words if it has none of the known ones."""
    found = _described(error, around)
    return found if found.message else replace(found, message=_as_json(error))


def _described(error: object, around: Mapping[str, Any]) -> ReportedError:
    if isinstance(error, list) and error and isinstance(error[0], Mapping):
        error = error[0]
    if not isinstance(error, str | list | Mapping):
        # Only the fact, such as true.
        error = around
    if not isinstance(error, Mapping):
        text, fields = _text_and_fields(error)
        more = around.get("message")
        return ReportedError(_first(around, _CODES), f"{text}: {more}" if isinstance(more, str) else text, fields)
    # FastChat has its words in `text`.
    said = next((error[name] for name in (*_WORDS, "text") if error.get(name)), "")
    message, fields = _text_and_fields(said)
    if isinstance(param := error.get("param"), str) and " " in param.strip():
        # Xiaomi has its words here, and "Param Incorrect" as its message.
        message = f"{message}: {param}"
    elif isinstance(param, str) and param:
        fields = (*param.split("."), *fields)
    if isinstance(error.get("metadata"), dict):
        # OpenRouter passes the words of the server behind it here.
        message = f"{message} {_as_json(error['metadata'])}"
    return ReportedError(_first(error, _CODES) or _first(around, ("code", *_NUMBERS)), message, fields)


def _text_and_fields(said: object) -> tuple[str, tuple[str, ...]]:
    """The message as one text, and the fields that it names: FastAPI lists each problem with the path to its field."""
    if isinstance(said, Mapping):
        inner = next((said[key] for key in ("detail", "message", "msg", "error") if said.get(key)), None)
        return (_as_json(said), ()) if inner is None else _text_and_fields(inner)
    if not isinstance(said, list):
        return str(said), ()
    texts: list[str] = []
    fields: list[str] = []
    for problem in said:
        if not isinstance(problem, Mapping):
            texts.append(str(problem))
            continue
        path = [str(part) for part in problem.get("loc") or () if part != "body"]
        fields += path
        words = next((problem[key] for key in ("msg", "message", "type") if problem.get(key)), "")
        texts.append(": ".join(filter(None, [".".join(path), str(words)])))
    return "; ".join(texts), tuple(fields)


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((str(values[name]) for name in names if values.get(name) not in _FINE), "")


def _as_json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_blank(value: object) -> bool:
    return isinstance(value, dict) and not any(value.values())
