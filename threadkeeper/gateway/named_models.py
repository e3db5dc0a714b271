"""The models that a request names, strictly read: for keys that allow some models only.

A provider may read a request otherwise than the gateway, so whatever could be read in two ways names no model. A form
is therefore read as a whole, and each of its parts must have the headers that common clients send.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_FALLBACKS = ("models", "fallbacks")
"""Fields with models that answer if the first one does not, at OpenRouter and at LiteLLM's proxy."""

_MOST_PARTS, _LONGEST_HEADERS = 1_000, 8_000

_TYPE = re.compile(r'multipart/form-data\s*;\s*boundary=(?:"([^"\\\s]{1,70})"|([^\s;",]{1,70}))\s*', re.IGNORECASE)
_HEADER_NAME, _HEADER_VALUE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"), re.compile(rb"[\t -~\x80-\xff]*")
_FILE_NAME = rb'(?:"[^"]*"|[^\s;"]+)'
_DISPOSITION = re.compile(
    rb'form-data; ?name=(?:"([^"\\]*)"|([^\s;"\\]+))(?:; ?filename=%b)?(?:; ?filename\*=[^\s;"]+)?' % (_FILE_NAME,),
    re.IGNORECASE,
)


def fallback_models(body: Mapping[str, Any]) -> Iterator[str]:
    """The further models that a request names. What is no name is given by its type, which no model is called."""
    for field in _FALLBACKS:
        value = body.get(field)
        for one in value if isinstance(value, list) else [value] if value else ():
            named = one.get("model") if isinstance(one, dict) else one
            yield named if isinstance(named, str) else f"({type(one).__name__})"


def model_of_form(content_type: str, body: bytes) -> str | None:
    """The model that a whole form names; None if it names none or several, or could be read in two ways."""
    kind = _TYPE.fullmatch(content_type.strip())
    if kind is None:
        return None
    delimiter = b"--" + (kind[1] or kind[2]).encode()
    if not 2 <= (count := body.count(delimiter)) <= _MOST_PARTS:
        return None
    # The first delimiter has no line before it.
    beginning, *parts = (b"\r\n" + body).split(b"\r\n" + delimiter)
    if beginning or len(parts) != count or parts.pop().strip() != b"--":
        return None
    found = [_field(part) for part in parts]
    if any(one is None for one in found):
        return None
    named = [(name, value) for name, value in filter(None, found) if name in ("model", *_FALLBACKS)]
    if [name for name, _ in named] != ["model"]:
        return None
    return named[0][1].decode(errors="replace").strip() or None


def _field(part: bytes) -> tuple[str, bytes] | None:
    """The name of a part, in lower case and without the brackets of a list, and its content; None if not clear."""
    headers, end, content = part.partition(b"\r\n\r\n")
    if len(headers) > _LONGEST_HEADERS:
        return None
    begin, *lines = headers.split(b"\r\n")
    read = [line.partition(b":") for line in lines]
    is_clear = all(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value) for name, _, value in read)
    dispositions = [value.strip() for name, _, value in read if name.lower() == b"content-disposition"]
    if begin or not end or not is_clear or len(dispositions) != 1:
        return None
    disposition = _DISPOSITION.fullmatch(dispositions[0])
    if disposition is None:
        return None
    name = (disposition[1] if disposition[1] is not None else disposition[2]).decode(errors="replace")
    return name.strip().lower().removesuffix("[]"), content
