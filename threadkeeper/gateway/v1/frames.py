"""Reads the JSON of events and of whole answers on their way to the caller, and lets them be changed.

What cannot be read goes through as it came.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from threadkeeper.chat.providers.openai_answers import parsed_event
from threadkeeper.gateway.frames import Frames, data_of


class FrameRewriter(Frames):
    """Changes the events of a stream."""

    # An event can have a whole response, with pictures.
    most_held = 32 * 1024 * 1024

    def change(self, event: dict[str, Any]) -> Iterable[dict[str, Any]]:
        """The events in place of this one; the same object alone if it stays as it is."""
        raise NotImplementedError

    def end(self) -> Iterable[dict[str, Any]]:
        """The events before the end of the stream."""
        return ()

    def finish(self) -> bytes:
        return super().finish() + b"".join(map(frame, self.end()))

    def changed(self, raw: bytes) -> bytes:
        data = data_of(raw)
        if data is None:
            return raw
        if data.strip() == b"[DONE]":
            return b"".join(map(frame, self.end())) + raw
        event = _read(data)
        if not isinstance(event, dict):
            return raw
        try:
            changed = list(self.change(event))
        except (TypeError, ValueError, AttributeError, LookupError):
            # An event of a shape that no server of OpenAI's sends.
            return raw
        return b"".join(raw if one is event else frame(one) for one in changed)


class WholeRewriter:
    """Changes an answer that is not streamed."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def change(self, answer: dict[str, Any]) -> None:
        """Change the answer in place."""
        raise NotImplementedError

    def feed(self, chunk: bytes) -> bytes:
        self._parts.append(chunk)
        return b""

    def finish(self) -> bytes:
        body = b"".join(self._parts)
        answer = _read(body)
        if not isinstance(answer, dict):
            return body
        try:
            self.change(answer)
        except (TypeError, ValueError, AttributeError, LookupError):
            return body
        return json.dumps(answer, ensure_ascii=False).encode()


def frame(event: dict[str, Any]) -> bytes:
    """The frame of an event. Those of Responses are named by their type."""
    kind = event.get("type")
    name = f"event: {kind}\n" if isinstance(kind, str) and kind.startswith("response.") else ""
    return f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def _read(text: bytes) -> Any:
    try:
        return parsed_event(text)
    except (ValueError, RecursionError):
        return None
