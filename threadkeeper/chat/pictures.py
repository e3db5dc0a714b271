"""Tells pictures by their first bytes. These four types are taken from users and from models, and shown by browsers."""

import re

_TYPES: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)


def picture_type(data: bytes) -> str | None:
    """The MIME type of a picture; None if these bytes are none of a known type."""
    return next((mime for magic, mime in _TYPES if magic.match(data)), None)
