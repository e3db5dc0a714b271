"""What the caller of `/v1` gets otherwise than the server sends it."""

from __future__ import annotations

from threadkeeper.gateway.changes import Rewriter
from threadkeeper.gateway.v1.citing import CitedChat, CitedChunks, CitedResponse, CitedResponseEvents, Citing
from threadkeeper.gateway.v1.errors import ToldErrors
from threadkeeper.gateway.v1.keeping import THREAD_ID, Kept

_STREAMED = {"chat/completions": CitedChunks, "responses": CitedResponseEvents}
_WHOLE = {"chat/completions": CitedChat, "responses": CitedResponse}


class AnswerChanges(ToldErrors):
    """The annotations of the passages that an answer cites, and the thread in which it is kept."""

    def __init__(self, path: str, citing: Citing, kept_in: Kept | None = None) -> None:
        super().__init__()
        self._path, self._citing = path, citing
        self._metadata = {} if kept_in is None else {THREAD_ID: kept_in.thread_id}
        self.headers = () if kept_in is None else kept_in.headers
        self.rewrites = bool(citing.passages or self._metadata)

    def rewriter(self, content_type: str) -> Rewriter | None:
        if content_type.lower().startswith("text/event-stream"):
            return _STREAMED[self._path](self._citing) if self._citing.passages else None
        return _WHOLE[self._path](self._citing, self._metadata) if self.rewrites else None
