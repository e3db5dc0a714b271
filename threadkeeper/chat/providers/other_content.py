"""Reads what an answer contains beside text: pictures, sound, calls of tools, files.

None of it is part of OpenAI's protocol as this chat uses it, so servers put it in many places:

- `images` beside the content, with data URLs: OpenRouter, LiteLLM (`image`, one object, until 1.77), Vercel's gateway
- parts of the content: `image_url` with a data URL (one-api), `inlineData` (Gemini), `image` with a `source`
  (Anthropic)
- `audio`, `tool_calls`, `function_call`: OpenAI

A picture is given out if its bytes are in the answer. An address is not fetched.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from hashlib import blake2s
from typing import Any

from threadkeeper.chat.model import ContentKind, NotShown, Picture
from threadkeeper.chat.pictures import picture_type

MOST_PICTURE_BYTES = 20 * 1024 * 1024
# Four characters of base64 are three bytes.
MOST_PICTURE_CHARACTERS = MOST_PICTURE_BYTES // 3 * 4
MOST_PICTURES = 10
_MOST_DEPTH = 4
_FIELDS: Mapping[str, ContentKind] = {
    "images": "pictures",
    "image": "pictures",
    "audio": "sound",
    "tool_calls": "calls",
    "function_call": "calls",
}
# By words in the type of a part, or in the name of its field if it has no type.
_KINDS: tuple[tuple[str, ContentKind], ...] = (
    ("image", "pictures"),
    ("inline", "pictures"),
    ("audio", "sound"),
    ("tool", "calls"),
    ("function", "calls"),
    ("file", "files"),
    ("document", "files"),
    ("video", "other"),
)


class OtherContent:
    """Collects the other contents of one answer: each picture once, and each kind that is not shown once."""

    def __init__(self) -> None:
        self.not_shown: set[ContentKind] = set()
        self._pictures: set[bytes] = set()

    def take(self, message: Mapping[str, Any]) -> list[Picture | NotShown]:
        """What is new in a delta or a message."""
        found = [(kind, message[name]) for name, kind in _FIELDS.items() if message.get(name)]
        content = message.get("content")
        if not isinstance(content, str):
            found += [(kind, part) for part in _parts(content) if (kind := kind_of(part)) is not None]
        return [new for kind, value in found for new in self.add(kind, value)]

    def add(self, kind: ContentKind, value: object) -> list[Picture | NotShown]:
        """What is new in a content of this kind, or in a list of them."""
        return [new for one in _each(value) for new in self._new(kind, one)]

    def _new(self, kind: ContentKind, value: object) -> Iterator[Picture | NotShown]:
        picture = _picture_in(value) if kind == "pictures" else None
        if picture is None:
            kind = "sound" if kind == "pictures" and _names_sound(value) else kind
        elif (digest := blake2s(picture.data).digest()) in self._pictures:
            return
        elif len(self._pictures) < MOST_PICTURES:
            self._pictures.add(digest)
            yield picture
            return
        if kind not in self.not_shown:
            self.not_shown.add(kind)
            yield NotShown(kind)


def kind_of(part: object) -> ContentKind | None:
    """What a part of a content is, if it is neither text nor thought."""
    if not isinstance(part, Mapping) or part.get("thought") is True:
        return None
    kind = part.get("type")
    if isinstance(kind, str) and kind:
        names = [kind]
    else:
        names = [] if part.get("text") else [name for name, value in part.items() if value]
    return next((found for name in names for word, found in _KINDS if word in name.lower()), None)


def _parts(content: object) -> list[Any]:
    if isinstance(content, Mapping):
        content = content.get("parts") or [content]
    return content if isinstance(content, list) else []


def _each(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _picture_in(value: object, depth: int = 0) -> Picture | None:
    """The picture of a data URL, or of a text in base64, somewhere in this value; None if there is none."""
    if isinstance(value, str):
        return _decoded(value)
    if isinstance(value, Mapping) and depth < _MOST_DEPTH:
        inner = (_picture_in(one, depth + 1) for one in value.values() if isinstance(one, str | Mapping))
        return next((picture for picture in inner if picture is not None), None)
    return None


def _decoded(text: str) -> Picture | None:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    if len(text) > MOST_PICTURE_CHARACTERS:
        return None
    try:
        # The first bytes tell a picture; a word or an address is not decoded.
        if picture_type(base64.b64decode(text[:64])) is None:
            return None
        data = base64.b64decode(text)
    except (binascii.Error, ValueError):
        return None
    mime = picture_type(data)
    return Picture(mime, data) if mime else None


def _names_sound(value: object) -> bool:
    return "audio/" in str(value)[:200]
