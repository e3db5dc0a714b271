"""Tells text from other bytes, and finds its encoding."""

from __future__ import annotations

import re

_NOT_IN_TEXT = re.compile("[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")
_HIGH_BYTE = re.compile(rb"[\x80-\xff]")
_CHINESE_PAIR = re.compile(rb"[\xa1-\xf7][\xa1-\xfe]")
_SAMPLE_BYTES = 64 * 1024


def decode(data: bytes) -> tuple[str, str, bool] | None:
    """The text, its encoding, and whether the encoding is certain; None if the bytes are not text."""
    for encoding, certain in _encodings(data):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return None if _NOT_IN_TEXT.search(text) else (text, encoding, certain)
    return None


def _encodings(data: bytes) -> list[tuple[str, bool]]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return [("UTF-16", True)]
    # Nearly every sequence of bytes is some GB18030. Chinese text has its high bytes in pairs, European text singly.
    sample = data[:_SAMPLE_BYTES]
    paired = 2 * len(_CHINESE_PAIR.findall(sample))
    chinese = paired > 0.6 * len(_HIGH_BYTE.findall(sample))
    return [("UTF-8-SIG", True), *([("GB18030", True)] if chinese else []), ("Windows-1252", False)]
