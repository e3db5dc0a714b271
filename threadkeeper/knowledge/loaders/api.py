"""Loads the answers of an HTTP API, as they were fetched: each record of their lists is a document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

from threadkeeper.knowledge.loaders.base import LoadedDocument, LoadOptions, Refused, Taken
from threadkeeper.knowledge.loaders.json_text import record_text, value_at

_TITLE_CHARACTERS = 80


class ApiLoader:
    """The bytes are {"pages": [one answer, …], "cut": whether there are more}."""

    name: ClassVar[str] = "api"
    version: ClassVar[int] = 1

    def load(self, data: bytes, options: LoadOptions, taken: Taken) -> Iterator[LoadedDocument]:
        pages, is_cut = _pages(data)
        taken.unit = "rows"
        seen: set[str] = set()
        repeated = empty = 0
        for record in _records(pages, options.records or ""):
            taken.total += 1
            text = _text(record, options.columns)
            if not text:
                empty += 1
                taken.kept += 1
                continue
            if taken.kept >= options.max_rows or taken.characters + len(text) > options.max_characters:
                continue
            record_id = _named(record, options.record_id) or str(taken.total)
            if record_id in seen:
                repeated += 1
                continue
            seen.add(record_id)
            taken.kept += 1
            taken.characters += len(text)
            title = _named(record, options.title) or text.partition("\n")[0][:_TITLE_CHARACTERS]
            suggestion = _named(record, options.suggestion)
            yield LoadedDocument(text, record_id, title, record_id=record_id, suggestion=suggestion)
        for key, count in (("part_repeated_records", repeated), ("part_records_without_text", empty)):
            if count and seen:
                taken.left_out.append((key, {"count": count}))
        if is_cut:
            taken.left_out.append(("part_more_answers", {"count": len(pages)}))
        if not seen:
            raise Refused("without_field" if empty and options.columns else "without_text")


def _pages(data: bytes) -> tuple[list[Any], bool]:
    try:
        found = json.loads(data)
        return found["pages"], bool(found["cut"])
    except (ValueError, KeyError, TypeError):
        raise Refused("broken") from None


def _records(pages: list[Any], path: str) -> Iterator[Any]:
    for page in pages:
        found = value_at(page, path)
        if not isinstance(found, list):
            raise Refused("without_field")
        yield from found


def _text(record: Any, fields: tuple[str, ...]) -> str:
    """All fields, or the chosen ones; a single one without its name."""
    if not fields:
        return record_text(record).strip()
    if len(fields) == 1:
        return record_text(value_at(record, fields[0])).strip()
    return "\n".join(filter(None, (record_text(value_at(record, name), name) for name in fields))).strip()


def _named(record: Any, path: str | None) -> str | None:
    """A field as one line; None if it is empty."""
    value = value_at(record, path) if path else None
    if value is None or isinstance(value, dict | list):
        return None
    return " ".join((value if isinstance(value, str) else json.dumps(value)).split()) or None
