"""Reads the body of a refused request. Every server writes it in its own form.

OpenAI and most others: `{"error": {"message", "code", "type", "param"}}`. FastAPI: `{"detail": "…"}`, or a list of
`{"loc": ["body", "stream_options"], "msg": "…"}`. Mistral puts that list into `message`. Ollama and xAI:
`{"error": "…"}`. Gemini wraps the object in a list. Cloudflare: `{"errors": [{"message"}]}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What a server said about a request. `fields`: the fields of the request that it names, such as "messages"."""

    code: str = ""
    message: str = ""
    fields: tuple[str, ...] = ()


def read_error_body(body: object) -> ErrorBody:
    """The body as JSON; ErrorBody() if there is nothing to read."""
    if isinstance(body, list):
        body = body[0] if body else None
    if not isinstance(body, Mapping):
        return ErrorBody(message=str(body)) if body else ErrorBody()
    inner = next((body[key] for key in ("error", "errors") if body.get(key)), body)
    if isinstance(inner, list):
        inner = inner[0]
    if not isinstance(inner, Mapping):
        return ErrorBody(_code(body), str(inner))
    said = next((inner[key] for key in ("message", "detail", "msg", "Message") if inner.get(key)), "")
    message, fields = _text_and_fields(said)
    if isinstance(param := inner.get("param"), str) and param:
        fields = (*param.split("."), *fields)
    return ErrorBody(_code(inner), message, fields)


def _code(body: Mapping[str, Any]) -> str:
    return str(body.get("code") or body.get("type") or "")


def _text_and_fields(said: object) -> tuple[str, tuple[str, ...]]:
    """The message as one text, and the fields that it names: FastAPI lists each problem with the path to its field."""
    if isinstance(said, Mapping):
        return _text_and_fields(next((said[key] for key in ("detail", "message", "msg") if said.get(key)), str(said)))
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
        texts.append(": ".join(filter(None, [".".join(path), str(problem.get("msg") or problem.get("type") or "")])))
    return "; ".join(texts), tuple(fields)
