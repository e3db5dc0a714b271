"""Refusals of the gateway itself.

Their bodies have the form of the provider's own errors, so that the official clients show the sentence. One form serves
OpenAI's and Anthropic's; Gemini's has a number as its code.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from starlette.responses import Response

from datalayer import DataLayerError
from threadkeeper.gateway.dialects import Dialect
from threadkeeper.web.auth.keys import KeyRefused

logger = logging.getLogger(__name__)

_GOOGLE_NAMES = {
    **{400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"},
    **{413: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 502: "UNAVAILABLE", 503: "UNAVAILABLE"},
    504: "DEADLINE_EXCEEDED",
}


class Refused(Exception):
    """A request that the gateway does not pass on, or whose answer it does not pass back.

    Args:
        status: the HTTP status.
        kind: the code in the body, such as `path_refused`.
        sentence: what happened, and what to do. It contains no key.
        headers: additional headers of the response.
        param: the field of the body that is not valid.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        sentence: str,
        headers: Mapping[str, str] | None = None,
        *,
        param: str | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status, self.kind, self.sentence, self.headers = status, kind, sentence, dict(headers or {})
        self.param = param

    def body(self, dialect: Dialect = "openai") -> bytes:
        """The body for a client of this dialect."""
        if dialect in ("gemini", "interactions"):
            # https://cloud.google.com/apis/design/errors: the code is the status, its name is one of a list.
            name = _GOOGLE_NAMES.get(self.status, "UNKNOWN")
            error = {"code": self.status, "message": self.sentence, "status": name}
            return json.dumps({"error": {**error, "details": [{"reason": self.kind}]}}).encode()
        said = {"type": self.kind, "code": self.kind, "message": self.sentence, "param": self.param}
        return json.dumps({"type": "error", "error": said}).encode()


def unforeseen() -> Refused:
    """What a caller gets for an error that was not foreseen, which is logged."""
    return Refused(500, "server_error", "Something went wrong. The reason is in the server's log.")


def refused_of(error: Exception, request: str) -> Refused:
    """The refusal for an exception. What was not foreseen is logged and not told.

    Args:
        request: its method and path, for the log.
    """
    if isinstance(error, Refused):
        return error
    if isinstance(error, KeyRefused):
        return Refused(error.status, error.kind, error.sentence, error.headers)
    if isinstance(error, DataLayerError):
        logger.error("%s fails: %s", request, error)
        sentence = "The storage cannot be reached now. Please try again."
        return Refused(503, "storage_unavailable", sentence, {"Retry-After": "5"})
    logger.error("%s fails", request, exc_info=error)
    return unforeseen()


def refusal(refused: Refused, dialect: Dialect = "openai") -> Response:
    """The response for a refusal, in the form in which a provider of this dialect reports errors."""
    return Response(refused.body(dialect), refused.status, refused.headers, media_type="application/json")
