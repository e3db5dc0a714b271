"""Finds the error that an event or an answer reports, although the status was 200.

OpenAI's own form is `{"error": {"code", "message"}}`. Other servers write `{"object": "error", …}` (vLLM, FastChat),
`{"error_code": 50001, "text": …}` (FastChat), `{"detail": …}` (FastAPI), `{"code", "message"}` or `{"code", "msg"}`
(gateways), `{"type": "error", …}`, `{"base_resp": {"status_code", "status_msg"}}` (MiniMax), `{"x_groq": {"error"}}`
(Groq), a list of these (Gemini), or an error beside or inside of a choice (OpenRouter).

An empty value is no error: many servers send `"error": null`, `"error_code": 0` or `"base_resp": {"status_code": 0}`
with every token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_NUMBERS = ("error_code", "errorCode", "errcode")
_NAMES = frozenset({"error", "errors", *_NUMBERS, "base_resp", "x_groq", "success"})
_CODES = ("code", *_NUMBERS, "status_code", "type", "status")
_WORDS = ("message", "error_message", "errorMessage", "error_msg", "errmsg", "status_msg", "msg", "detail")
# Values of a code that say that all is well.
_FINE = (None, False, 0, "", "0", 200, "200", "ok", "success", "Success", "OK")


def find_error(event: object) -> dict[str, str] | None:
    """The error as `code` and `message`; None if the event reports none."""
    if isinstance(event, dict):
        # First of all what is true of nearly every token.
        choices = event.get("choices")
        is_plain = choices and event.keys().isdisjoint(_NAMES) and event.get("object") != "error"
        return None if is_plain else _error_of(event, choices)
    if isinstance(event, list):
        return next((found for one in event if (found := find_error(one)) is not None), None)
    return None


def _error_of(event: dict[str, Any], choices: object) -> dict[str, str] | None:
    found = event.get("error") or event.get("errors")
    if found and not _is_blank(found):
        return _described(found if isinstance(found, str | dict | list) else event, event)
    if any(event.get(name) not in _FINE for name in _NUMBERS) or _says_error(event):
        return _described(event, event)
    for inner in (event.get("base_resp"), event.get("x_groq")):
        if isinstance(inner, dict) and (inner.get("error") or inner.get("status_code") not in _FINE):
            return _described(inner.get("error") or inner, inner)
    return None if choices else _bare_error(event)


def error_of_choice(choice: Mapping[str, Any]) -> dict[str, str] | None:
    """The error inside of a choice, as OpenRouter sends it."""
    found = choice.get("error")
    return _described(found, choice) if found and not _is_blank(found) else None


def named_error(payload: bytes) -> dict[str, str]:
    """The error of an SSE event named `error`, with any data."""
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError):
        event = payload.decode(errors="replace")
    return find_error(event) or _described(event or "an error without words", {})


def _says_error(event: Mapping[str, Any]) -> bool:
    if event.get("object") == "error" or event.get("success") is False:
        return True
    kind = event.get("type")
    return isinstance(kind, str) and "error" in kind.lower() and not event.get("choices")


def _bare_error(event: Mapping[str, Any]) -> dict[str, str] | None:
    """The error of an object that has words and no choices.

    Without a code, words alone are an error only in an object that names no kind: `{"type": "status", "message":
    "queued"}` is none.
    """
    if not any(_has_words(event.get(name)) for name in _WORDS):
        return None
    if event.get("code") not in _FINE:
        return _described(event, event)
    has_kind = any(event.get(name) for name in ("type", "object", "event")) or "choices" in event
    return None if has_kind or event.get("code") is not None else _described(event, event)


def _has_words(value: object) -> bool:
    # A dictionary would be a message with role and content.
    return bool(value) and isinstance(value, str | list)


def _described(error: object, around: Mapping[str, Any]) -> dict[str, str]:
    if not isinstance(error, dict):
        text = error if isinstance(error, str) else _as_json(error)
        more = around.get("message")
        return {"code": _first(around, _CODES), "message": f"{text}: {more}" if isinstance(more, str) else text}
    # FastChat has its words in `text`.
    words = next((error[name] for name in (*_WORDS, "text") if error.get(name)), None)
    message = words if isinstance(words, str) else _as_json(error)
    if isinstance(error.get("metadata"), dict):
        # OpenRouter passes the words of the server behind it here.
        message = f"{message} {_as_json(error['metadata'])}"
    return {"code": _first(error, _CODES), "message": message}


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((str(values[name]) for name in names if values.get(name) not in _FINE), "")


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _is_blank(value: object) -> bool:
    return isinstance(value, dict) and not any(value.values())
