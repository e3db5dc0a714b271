"""Errors of `/v1` in the shapes of OpenAI and Anthropic, with the codes that applications of OpenAI look for."""

from __future__ import annotations

import json

from starlette.responses import Response

from threadkeeper.chat.providers.reported_errors import read_error
from threadkeeper.gateway.changes import Changes
from threadkeeper.gateway.copies import as_json
from threadkeeper.gateway.refusals import Refused

_CODES = {
    "key-missing": "invalid_api_key",
    "key-invalid": "invalid_api_key",
    "several-keys": "invalid_api_key",
    "scope-missing": "insufficient_permissions",
    "rate-exceeded": "rate_limit_exceeded",
    "rate_exceeded": "rate_limit_exceeded",
    "too-many-wrong-keys": "rate_limit_exceeded",
    "over_limit": "insufficient_quota",
}
OF_ANTHROPIC = ("messages", "messages/count_tokens")
"""The paths whose requests and answers have Anthropic's shapes."""
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
# Waiting some seconds does not help. OpenAI's and Anthropic's clients heed `x-should-retry`.
_FINAL = ("over_limit", "unpriced")
_OF_ANTHROPIC = {400: "invalid_request_error", 404: "not_found_error", 413: "request_too_large", **_TYPES}
_NOT_THE_CALLERS = (401, 403)
_LONGEST_WORDS = 1_000


def is_of_anthropic(path: str) -> bool:
    """Whether a path behind `/v1/` is one of Anthropic's."""
    return path.partition("/")[0] == OF_ANTHROPIC[0]


def error_response(refused: Refused, *, anthropic: bool = False) -> Response:
    """The response for a refusal, in the shape of OpenAI or of Anthropic."""
    headers = dict(refused.headers)
    if refused.kind in _FINAL:
        headers["x-should-retry"] = "false"
    elif refused.kind == "in_flight":
        headers.setdefault("Retry-After", "1")
    code = _CODES.get(refused.kind, refused.kind)
    body = _body(refused.status, code, refused.sentence, refused.param, anthropic=anthropic)
    return Response(body, refused.status, headers, media_type="application/json")


def _body(status: int, code: str, sentence: str, param: str | None, *, anthropic: bool) -> bytes:
    if anthropic:
        error = {"type": _OF_ANTHROPIC.get(status, "api_error"), "message": sentence}
        return json.dumps({"type": "error", "error": error}).encode()
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return json.dumps({"error": {"message": sentence, "type": kind, "param": param, "code": code}}).encode()


class ToldErrors(Changes):
    """The changes of `/v1`: refusals of a server get the shape of the caller's client, whatever the server writes.

    That it refuses the key of the operator is no fault of the caller, whose own key is good: a 401 or 403 becomes 502,
    without the words of the server, which could have a part of that key.
    """

    def __init__(self, *, anthropic: bool = False) -> None:
        self._anthropic = anthropic

    def refusal(self, status: int, body: bytes) -> tuple[int, bytes] | None:
        if status in _NOT_THE_CALLERS:
            sentence = f"The model server refuses the request of this server (HTTP {status}). Its log says more."
            return 502, _body(502, "model_server_refused", sentence, None, anthropic=self._anthropic)
        value = as_json(body)
        if isinstance(value, dict) and isinstance(error := value.get("error"), dict) and error.get("message"):
            return None
        # A page of a proxy has no words for programs.
        said = read_error(value) if value is not None else None
        sentence = (said.message if said else "")[:_LONGEST_WORDS] or f"The model server answers with HTTP {status}."
        code = (said.code if said else "") or "model_server_error"
        return status, _body(status, code, sentence, None, anthropic=self._anthropic)
