"""Refusals of the gateway itself.

Their bodies have the form of OpenAI's and of Anthropic's errors, so that the official clients show the sentence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping


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

    @property
    def body(self) -> bytes:
        error = {"type": self.kind, "code": self.kind, "message": self.sentence, "param": self.param}
        return json.dumps({"type": "error", "error": error}).encode()
