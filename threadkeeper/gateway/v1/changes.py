"""What the caller of `/v1` gets otherwise than the server sends it."""

from __future__ import annotations

from collections.abc import Sequence

from threadkeeper.gateway.changes import Rewriter
from threadkeeper.gateway.v1.citing import CitedChat, CitedChunks, CitedResponse, CitedResponseEvents, Citing
from threadkeeper.gateway.v1.errors import ToldErrors

_STREAMED = {"chat/completions": CitedChunks, "responses": CitedResponseEvents}
_WHOLE = {"chat/completions": CitedChat, "responses": CitedResponse}


class AnswerChanges(ToldErrors):
    """The annotations of the passages that an answer cites, and more headers."""

    def __init__(self, path: str, citing: Citing | None, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._path, self.headers = path, headers
        self._citing = citing if citing is not None and citing.passages else None
        self.rewrites = self._citing is not None

    def rewriter(self, content_type: str) -> Rewriter | None:
        if self._citing is None:
            return None
        is_stream = content_type.lower().startswith("text/event-stream")
        return (_STREAMED if is_stream else _WHOLE)[self._path](self._citing)
