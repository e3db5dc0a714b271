"""Reads the JSON of events and of whole answers on their way to the caller, and lets them be changed.

What cannot be read goes through as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from threadkeeper.chat.providers.openai_answers import parsed_event

_ENDS_FRAME = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_DATA = re.compile(rb"^data: ?(.*?)\r?$", re.MULTILINE)
_MOST_HELD = 32 * 1024 * 1024


class FrameRewriter:
    """Changes the events of a stream. A frame is held back until its last byte has come."""

    def __init__(self) -> None:
        self._held, self._is_passing = b"", False

    def change(self, event: dict[str, Any]) -> Iterable[dict[str, Any]]:
        """The events in place of this one; the same object alone if it stays as it is."""
        raise NotImplementedError

    def end(self) -> Iterable[dict[str, Any]]:
        """The events before the end of the stream."""
        return ()

    def feed(self, chunk: bytes) -> bytes:
        if self._is_passing:
            return chunk
        data, passed, begin = self._held + chunk, [], 0
        for found in _ENDS_FRAME.finditer(data):
            passed.append(self._changed(data[begin : found.end()]))
            begin = found.end()
        self._held = data[begin:]
        if len(self._held) > _MOST_HELD:
            passed.append(self._held)
            self._held, self._is_passing = b"", True
        return b"".join(passed)

    def finish(self) -> bytes:
        rest, self._held = self._held, b""
        changed = self._changed(rest) if rest.strip() else rest
        return changed + b"".join(map(frame, self.end()))

    def _changed(self, raw: bytes) -> bytes:
        found = _DATA.search(raw)
        if found is None:
            return raw
        if found.group(1).strip() == b"[DONE]":
            return b"".join(map(frame, self.end())) + raw
        event = _read(found.group(1))
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
