"""Translates every failure of a call through the openai package into a ModelError.

The detail is for the log: status, code and request id of the server, and its message on one line. Keys are removed,
because some servers repeat the key in the message.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from email.utils import mktime_tz, parsedate_tz
from typing import Any

import aiohttp
import httpx2

from threadkeeper.chat.model import ModelError
from threadkeeper.chat.providers.reported_errors import ReportedError, named_parameter, read_error
from threadkeeper.chat.providers.server_words import longest_answer, meaning_of, token_limit, wait_seconds

_LONGEST_DETAIL = 400
_SECONDS = re.compile(r"\d{1,9}(\.\d+)?")
_BAD_REQUEST, _FORBIDDEN = 400, 403
_BAD_REQUESTS = (_BAD_REQUEST, 422)
_OPTIONAL = (
    *("max_completion_tokens", "max_tokens", "temperature", "stream_options", "stream"),
    *("top_p", "presence_penalty", "frequency_penalty", "logit_bias", "stop"),
)
_KEY_LIKE = re.compile(r"\b(?:sk-|Bearer\s+)[\w*.~+/=-]+", re.IGNORECASE)


def response_error(response: httpx2.Response, secret: str) -> ModelError:
    """The error of a response that has been read."""
    said, status = _said(response), response.status_code
    request_id = response.headers.get("x-request-id")
    request = f", request {request_id}" if request_id else ""
    if status == _FORBIDDEN and _is_page(response):
        # A firewall before the server looks at the text of requests; it does not know keys.
        status = _BAD_REQUEST
    return _refusal(status, said, clean(f"HTTP {response.status_code} {said.code}{request}: {said.message}", secret))


def demands_other_roles(response: httpx2.Response) -> bool:
    """Whether the server refused the system message or the order of the roles."""
    said = _said(response)
    return meaning_of(response.status_code, said.code, said.message) == "roles"


def longest_answer_of(response: httpx2.Response, wanted: int) -> int | None:
    """The tokens that an answer may have at most, if the server refused this many and names its own maximum."""
    return longest_answer(_said(response).message, wanted) if response.status_code in _BAD_REQUESTS else None


def wait_demanded(response: httpx2.Response) -> float | None:
    """The seconds that the server asks to wait: from its headers, else from its words; None if it names none."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = response.headers.get(name, "")
        if moment := parsedate_tz(value):
            return max(0.0, mktime_tz(moment) - time.time())
        if _SECONDS.fullmatch(value):
            return float(value) * unit
    return wait_seconds(_said(response).message) if response.status_code == 429 else None


def connection_error(error: BaseException, secret: str, *, answering: bool) -> ModelError:
    """The error of a connection. `answering`: the answer had begun, so the connection broke off."""
    causes = list(_causes(error))
    detail = clean(" < ".join(f"{type(cause).__name__}: {cause}" for cause in causes), secret)
    # The aiohttp transport calls every lost connection a ConnectTimeout; only the innermost cause is reliable.
    beneath = causes[-1]
    if isinstance(beneath, (TimeoutError, httpx2.ReadTimeout)):
        return ModelError("timeout", detail)
    if any(isinstance(cause, aiohttp.ClientConnectorError) for cause in causes):
        return ModelError("unreachable", detail, {"is_sent": False})
    return ModelError("cut" if answering else "unreachable", detail)


def event_error(said: ReportedError, secret: str) -> ModelError:
    """The error that is reported inside a stream, whose status was already 200."""
    status = int(said.code) if said.code.isdigit() else 500
    return _refusal(status, said, clean(f"error in the stream, {said.code}: {said.message}", secret))


def refused_parameter(response: httpx2.Response, sent: Mapping[str, Any]) -> str | None:
    """The optional parameter that the server refused; None if the request needs it or the error names none."""
    if response.status_code not in _BAD_REQUESTS:
        return None
    said = _said(response)
    if meaning_of(response.status_code, said.code, said.message) == "too_long":
        return None
    return named_parameter(said, [name for name in _OPTIONAL if name in sent])


def clean(text: str, secret: str) -> str:
    """One line without keys, short enough for a log."""
    if secret:
        text = text.replace(secret, "***")
    return " ".join(_KEY_LIKE.sub("***", text).split())[:_LONGEST_DETAIL]


def _said(response: httpx2.Response) -> ReportedError:
    try:
        said = read_error(response.json())
    except (ValueError, RecursionError):
        said = ReportedError()
    return said if said.message else replace(said, message=response.text)


def _is_page(response: httpx2.Response) -> bool:
    return "html" in response.headers.get("content-type", "")


def _refusal(status: int, said: ReportedError, detail: str) -> ModelError:
    meaning = meaning_of(status, said.code, said.message)
    kind = "refused" if meaning == "roles" else meaning
    values: dict[str, object] = {"status": status}
    if kind == "too_long" and (limit := token_limit(said.message)) is not None:
        values["limit"] = limit
    return ModelError(kind, detail, values)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
