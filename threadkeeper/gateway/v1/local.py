"""Answers that no server gives: of the demo, and the text of an assistant that finds nothing. They use no tokens."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from starlette.responses import Response, StreamingResponse

from threadkeeper.gateway.changes import Changes
from threadkeeper.gateway.v1.frames import frame

_EVENTS = "text/event-stream; charset=utf-8"
_JSON = "application/json"


def local_response(
    path: str, model: str, pieces: AsyncIterator[str], changes: Changes, *, is_streaming: bool
) -> Response:
    """The response whose text comes in these pieces.

    Args:
        path: chat/completions or responses.
        model: as the request names it.
        pieces: of the text. They may do something after the last one.
        changes: of the body and the headers, as for the answer of a server.
        is_streaming: whether it is streamed.
    """
    shape = _ChatShape(model) if path == "chat/completions" else _ResponseShape(model)
    kind = _EVENTS if is_streaming else _JSON
    rewriter = changes.rewriter(kind)

    async def frames() -> AsyncIterator[bytes]:
        texts = []
        for event in shape.begin():
            yield frame(event)
        async for piece in pieces:
            texts.append(piece)
            yield frame(shape.piece(piece))
        for event in shape.end("".join(texts)):
            yield frame(event)
        if shape.has_done:
            yield b"data: [DONE]\n\n"

    async def whole() -> AsyncIterator[bytes]:
        yield json.dumps(shape.whole("".join([piece async for piece in pieces])), ensure_ascii=False).encode()

    async def changed(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in body:
            if passed := chunk if rewriter is None else rewriter.feed(chunk):
                yield passed
        if rewriter is not None:
            yield rewriter.finish()

    response = StreamingResponse(changed(frames() if is_streaming else whole()), media_type=kind)
    response.raw_headers += list(changes.headers)
    return response


class _ChatShape:
    has_done = True

    def __init__(self, model: str) -> None:
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def begin(self) -> Iterator[dict[str, Any]]:
        yield self._chunk({"role": "assistant", "content": ""}, None)

    def piece(self, text: str) -> dict[str, Any]:
        return self._chunk({"content": text}, None)

    def end(self, _text: str) -> Iterator[dict[str, Any]]:
        yield self._chunk({}, "stop")

    def _chunk(self, delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}

    def whole(self, text: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": usage}


class _ResponseShape:
    has_done = False

    def __init__(self, model: str) -> None:
        self._item = f"msg_{uuid.uuid4().hex}"
        self._place = {"item_id": self._item, "output_index": 0, "content_index": 0}
        self._head = {
            **{"id": f"resp_{uuid.uuid4().hex}", "object": "response", "created_at": int(time.time())},
            **{"model": model, "error": None, "incomplete_details": None, "instructions": None, "metadata": {}},
            **{"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": None, "top_p": None},
        }
        self._number = -1

    def begin(self) -> Iterator[dict[str, Any]]:
        begun = {**self._head, "status": "in_progress", "output": [], "usage": None}
        yield self._event("created", response=begun)
        yield self._event("in_progress", response=begun)
        item = {**self._message("in_progress"), "content": []}
        yield self._event("output_item.added", output_index=0, item=item)
        yield self._event("content_part.added", **self._place, part=_part(""))

    def piece(self, text: str) -> dict[str, Any]:
        return self._event("output_text.delta", **self._place, delta=text, logprobs=[])

    def end(self, text: str) -> Iterator[dict[str, Any]]:
        yield self._event("output_text.done", **self._place, text=text, logprobs=[])
        yield self._event("content_part.done", **self._place, part=_part(text))
        item = {**self._message("completed"), "content": [_part(text)]}
        yield self._event("output_item.done", output_index=0, item=item)
        yield self._event("completed", response=self.whole(text))

    def whole(self, text: str) -> dict[str, Any]:
        details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, **details}
        item = {**self._message("completed"), "content": [_part(text)]}
        return {**self._head, "status": "completed", "output": [item], "usage": usage}

    def _message(self, status: str) -> dict[str, Any]:
        return {"type": "message", "id": self._item, "role": "assistant", "status": status}

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": f"response.{kind}", "sequence_number": self._number, **fields}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
