"""Tells text from other bytes, and finds its encoding."""

from __future__ import annotations

import re

_NOT_IN_TEXT = re.compile("[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")
_HIGH_BYTE = re.compile(rb"[\x80-\xff]")
_CHINESE_PAIR = re.compile(rb"[\xa1-\xf7][\xa1-\xfe]")
_SAMPLE_BYTES = 64 * 1024
# Damaged bytes are replaced. Whole UTF-8, with a BOM or without, is tried before under its other name.
_DAMAGED = "UTF-8"


def decode(data: bytes) -> tuple[str, str, bool] | None:
    """The text, its encoding, and whether the encoding is certain; None if the bytes are not text."""
    for encoding, certain in _encodings(data):
        try:
            text = data.decode(encoding, "replace" if encoding == _DAMAGED else "strict")
        except UnicodeDecodeError:
            continue
        if _NOT_IN_TEXT.search(text):
            return None
        return text, encoding, certain and _is_common(text, encoding)
    return None


def _encodings(data: bytes) -> list[tuple[str, bool]]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return [("UTF-16", True)]
    # Nearly every sequence of bytes is some GB18030. Chinese text has its high bytes in pairs, European text singly.
    sample = data[:_SAMPLE_BYTES]
    paired = 2 * len(_CHINESE_PAIR.findall(sample))
    chinese = paired > 0.6 * len(_HIGH_BYTE.findall(sample))
    gb18030 = [("GB18030", True)] if chinese else []
    if gb18030 and not _is_common(sample.decode("GB18030", "ignore"), "GB18030"):
        # Traditional characters: in Big5 most texts of Taiwan and Hong Kong, in GB18030 few.
        gb18030 = [("Big5-HKSCS", False), *gb18030]
    return [
        ("UTF-8-SIG", True),
        *([(_DAMAGED, False)] if _is_damaged(sample) else []),
        *gb18030,
        ("Windows-1252", False),
    ]


def _is_damaged(sample: bytes) -> bool:
    """Whether this is UTF-8 but for a few bytes, as in a file that was cut."""
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    whole = sum(one > "\x7f" for one in text) - broken
    return whole > 10 * broken or (broken == 1 and whole >= 3)


def _is_common(text: str, encoding: str) -> bool:
    """Whether Chinese text that was decoded as GB18030 has mostly the characters of every day, those of GB2312."""
    if encoding != "GB18030":
        return True
    high = [one for one in text[:_SAMPLE_BYTES] if one > "\x7f"]
    return sum(one.encode("gb2312", "ignore") != b"" for one in high) >= 0.9 * len(high)
