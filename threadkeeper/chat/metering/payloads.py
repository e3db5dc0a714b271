"""The messages of a call as they are stored with it: without secrets and pictures, and of bounded length.

The thread has the pictures and files; here it is enough to know that they were sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from threadkeeper.chat.messages import ChatMessage, Part

MOST_CHARACTERS = 200_000
"""For all messages of a call together. The newest are kept, because every turn sends the whole thread again."""

_MEDIA_TYPE = re.compile(r"data:([\w.+-]+/[\w.+-]+)?")


def kept_messages(messages: Sequence[ChatMessage], redact: Callable[[str], str]) -> list[dict[str, Any]]:
    """The messages in order. A text that does not fit is replaced by its length."""
    room, kept = MOST_CHARACTERS, list[dict[str, Any]]()
    for message in reversed(messages):
        content = message["content"]
        if isinstance(content, str):
            text, room = _text(content, room, redact)
            kept.append({"role": message["role"], "content": text})
            continue
        parts = list[dict[str, Any]]()
        for part in reversed(content):
            if part["type"] == "text":
                text, room = _text(part["text"], room, redact)
                parts.append({"type": "text", "text": text})
            else:
                parts.append(_picture(part))
        kept.append({"role": message["role"], "content": parts[::-1]})
    return kept[::-1]


def _text(text: str, room: int, redact: Callable[[str], str]) -> tuple[str, int]:
    if len(text) > room:
        return f"({len(text)} characters were left out here)", room
    return redact(text), room - len(text)


def _picture(part: Part) -> dict[str, Any]:
    url = part["image_url"]["url"] if part["type"] == "image_url" else ""
    found = _MEDIA_TYPE.match(url)
    # Four characters of base64 are three bytes.
    size = len(url.partition(",")[2]) * 3 // 4
    return {"type": "picture", "media_type": found.group(1) if found else None, "bytes": size}
