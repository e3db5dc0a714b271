"""Loads JSON and JSON Lines as text: a line for each value, under the names that lead to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from threadkeeper.knowledge.loaders.base import LoadedDocument, LoadOptions, Refused, Taken, cut
from threadkeeper.knowledge.loaders.text import text_of


class JsonLoader:
    name: ClassVar[str] = "json"
    version: ClassVar[int] = 1

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        text = text_of(data, taken)
        yield LoadedDocument(cut("\n\n".join(map(record_text, _records(text))), options, taken))


def _records(text: str) -> list[Any]:
    """The values of the file: the items of a list, the lines of JSON Lines, or the one value."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        try:
            # `splitlines` would also split at U+2028 and others, which may stand in a value.
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        except json.JSONDecodeError:
            raise Refused("broken") from None
    return value if isinstance(value, list) else [value]


def value_at(value: Any, path: str) -> Any:
    """What is at a path of names and numbers in a JSON value, as "data.items.0"; "" is the value itself; None if
    nothing is there."""
    for name in path.split(".") if path else ():
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isascii() and name.isdecimal() and len(name) < 10:
            value = value[int(name)] if int(name) < len(value) else None
        else:
            return None
    return value


def record_text(value: Any, path: str = "") -> str:
    """A value as text: a line for each plain value, under the names that lead to it."""
    return "\n".join(_lines(value, path))


def _lines(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _lines(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        if all(not isinstance(inner, dict | list) for inner in value):
            yield from _lines(", ".join(_plain(inner) for inner in value), path)
        else:
            for inner in value:
                yield from _lines(inner, path)
    elif value not in (None, ""):
        yield f"{path}: {_plain(value)}" if path else _plain(value)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
