"""Asks a stream of chat completions for its usage when the caller did not, and takes the extra frame out again.

The rest of the stream goes through byte for byte. https://platform.openai.com/docs/api-reference/chat/create: with
`include_usage`, one more chunk with empty `choices` comes before `[DONE]`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from threadkeeper.chat.providers.openai_answers import parsed_event

_ENDS_FRAME = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_DATA = re.compile(rb"^data: ?(.*?)\r?$", re.MULTILINE)
_MOST_HELD = 1024 * 1024


def with_usage(body: bytes, question: Any) -> bytes | None:
    """The body of a streaming request with `include_usage`; None if the caller asks for it already.

    If the caller sends no `stream_options`, its own bytes stay as they are.
    """
    if not isinstance(question, dict) or question.get("stream") is not True:
        return None
    options = question.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") is True:
        return None
    if "stream_options" not in question:
        before, _, behind = body.partition(b"{")
        if b"\0" in body[:4] or before.strip(b"\xef\xbb\xbf \t\r\n"):
            return None  # It is JSON in another encoding than UTF-8.
        return before + b'{"stream_options":{"include_usage":true},' + behind
    asked = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return json.dumps({**question, "stream_options": asked}).encode()


class UsageFrames:
    """Takes the extra frame out of a stream. A frame is held back until its last byte has come."""

    def __init__(self) -> None:
        self._held = b""
        self._is_passing = False

    def feed(self, chunk: bytes) -> bytes:
        """The bytes for the caller."""
        if self._is_passing:
            return chunk
        data, passed, begin = self._held + chunk, [], 0
        for end in _ENDS_FRAME.finditer(data):
            frame = data[begin : end.end()]
            begin = end.end()
            if not _is_extra(frame):
                passed.append(frame)
        self._held = data[begin:]
        if len(self._held) > _MOST_HELD:
            # No event is so long: this is no stream of chat completions.
            passed.append(self._held)
            self._held, self._is_passing = b"", True
        return b"".join(passed)

    def finish(self) -> bytes:
        """The rest, after the last byte: a frame whose empty line is missing."""
        rest, self._held = self._held, b""
        return b"" if _is_extra(rest) else rest


def _is_extra(frame: bytes) -> bool:
    if b'"usage"' not in frame or b'"choices"' not in frame:
        return False
    found = _DATA.search(frame)
    try:
        event = parsed_event(found.group(1)) if found else None
    except (ValueError, RecursionError):
        return False
    return isinstance(event, dict) and event.get("choices") == [] and isinstance(event.get("usage"), dict)
