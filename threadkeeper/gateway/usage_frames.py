"""Asks a stream of chat completions for its usage when the caller did not, and takes the extra frame out again.

The rest of the stream goes through byte for byte. https://platform.openai.com/docs/api-reference/chat/create: with
`include_usage`, one more chunk with empty `choices` comes before `[DONE]`.
"""

from __future__ import annotations

import json
from typing import Any

from threadkeeper.chat.providers.openai_answers import parsed_event
from threadkeeper.gateway.frames import Frames, data_of


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


class UsageFrames(Frames):
    """Takes the extra frame out of a stream."""

    def changed(self, frame: bytes) -> bytes:
        return b"" if _is_extra(frame) else frame


def _is_extra(frame: bytes) -> bool:
    if b'"usage"' not in frame or b'"choices"' not in frame:
        return False
    data = data_of(frame)
    try:
        event = None if data is None else parsed_event(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(event, dict) and event.get("choices") == [] and isinstance(event.get("usage"), dict)
