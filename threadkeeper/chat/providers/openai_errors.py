"""Translates every failure of a call through the openai package into a ModelError.

The detail is for the log: status, code and request id of the server, and its message on one line. Keys are removed,
because some servers repeat the key in the message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import openai

from threadkeeper.chat.model import ErrorKind, ModelError

_LONGEST_DETAIL = 400
_KEY_LIKE = re.compile(r"\b(?:sk-|Bearer\s+)[\w*.~+/=-]+", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"context.{0,10}(length|window|size)|maximum context|prompt is too long|too many tokens", re.IGNORECASE
)
_STATUS_KINDS: Mapping[int, ErrorKind] = {
    401: "auth",
    403: "auth",
    404: "not_found",
    408: "timeout",
    409: "server",
    413: "too_long",
    429: "rate_limit",
}


def status_error(error: openai.APIStatusError, secret: str) -> ModelError:
    return _refusal(error.status_code, error.body, error.message, error.request_id, secret)


def response_error(response: httpx2.Response, secret: str) -> ModelError:
    """The error of a response that has been read and has not become an exception."""
    try:
        body = response.json()
    except ValueError:
        body = None
    return _refusal(response.status_code, body, response.text, response.headers.get("x-request-id"), secret)


def connection_error(error: BaseException, secret: str, *, answering: bool) -> ModelError:
    """The error of a connection. `answering`: the answer had begun, so the connection broke off."""
    causes = list(_causes(error))
    detail = clean(" < ".join(f"{type(cause).__name__}: {cause}" for cause in causes), secret)
    # The aiohttp transport calls every lost connection a ConnectTimeout; only the innermost cause is reliable.
    beneath = causes[-1]
    if isinstance(beneath, (TimeoutError, httpx2.ReadTimeout)):
        return ModelError("timeout", detail)
    return ModelError("cut" if answering else "unreachable", detail)


def event_error(error: object, secret: str) -> ModelError:
    """The error of an error object inside a stream, whose status was already 200."""
    body = _error_object(error)
    code, message = _code(body), _message(body) or str(error)
    status = int(code) if code.isdigit() else 500
    return ModelError(_kind(status, code, message), clean(f"error in the stream, {code}: {message}", secret))


def refused_parameter(error: openai.APIStatusError, sent: Mapping[str, Any]) -> str | None:
    """The optional parameter that the server refused; None if the request needs it or the error names none."""
    if error.status_code not in (400, 422):
        return None
    body = _error_object(error.body)
    message = _message(body) or error.message
    if _kind(error.status_code, _code(body), message) == "too_long":
        return None
    optional = [
        name for name in ("max_completion_tokens", "max_tokens", "temperature", "stream_options") if name in sent
    ]
    for name in optional:
        if str(body.get("param") or "").split(".")[0] == name:
            return name
    for name in optional:
        if re.search(rf"\b{name}\b", message):
            return name
    return None


def clean(text: str, secret: str) -> str:
    """One line without keys, short enough for a log."""
    if secret:
        text = text.replace(secret, "***")
    return " ".join(_KEY_LIKE.sub("***", text).split())[:_LONGEST_DETAIL]


def _refusal(status: int, body: object, otherwise: str, request_id: str | None, secret: str) -> ModelError:
    details = _error_object(body)
    code, message = _code(details), _message(details) or otherwise
    request = f", request {request_id}" if request_id else ""
    return ModelError(_kind(status, code, message), clean(f"HTTP {status} {code}{request}: {message}", secret))


def _kind(status: int, code: str, message: str) -> ErrorKind:
    if code == "context_length_exceeded" or (status in (400, 413, 422) and _TOO_LONG.search(message)):
        return "too_long"
    if code in ("insufficient_quota", "billing_hard_limit_reached") or status == 402:
        return "quota"
    if code == "content_filter":
        return "filtered"
    if "rate_limit" in code:
        return "rate_limit"
    return _STATUS_KINDS.get(status, "server" if status >= 500 else "refused")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _error_object(body: object) -> dict[str, Any]:
    if isinstance(body, dict):
        inner = body.get("error", body)
        return inner if isinstance(inner, dict) else {"message": str(inner)}
    return {"message": str(body)} if body else {}


def _code(body: dict[str, Any]) -> str:
    return str(body.get("code") or body.get("type") or "")


def _message(body: dict[str, Any]) -> str:
    return str(body.get("message") or "")
