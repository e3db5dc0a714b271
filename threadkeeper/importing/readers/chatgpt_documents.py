"""What ChatGPT shows beside its answers: canvases, reports of its research, and the pages that a search has found."""

import json
from collections.abc import Mapping
from typing import Any

from threadkeeper.importing.documents import document
from threadkeeper.importing.model import Source
from threadkeeper.importing.readers.chatgpt_citations import cited
from threadkeeper.importing.values import items, mapping, text

_ALL = ".*"


def canvas(call: str) -> str:
    """The document that a call of the canvas writes as a whole; "" if it changes parts of one, or comments."""
    given = _json(call)
    content, kind = text(given.get("content")), text(given.get("type"))
    updates = [mapping(one) for one in items(given.get("updates"))]
    if not content and len(updates) == 1 and updates[0].get("pattern") == _ALL:
        content = text(updates[0].get("replacement"))
    language = kind.partition("/")[2] if kind.startswith("code/") else None
    return document(text(given.get("name")), content, language) if content.strip() else ""


def report(metadata: Mapping[str, Any]) -> tuple[str, tuple[Source, ...]] | None:
    """The text and the sources of a finished research, which is the state of an app within the chat."""
    state = mapping(metadata.get("chatgpt_sdk")).get("widget_state")
    written = mapping(_json(state).get("report_message")) if isinstance(state, str) else {}
    parts = items(mapping(written.get("content")).get("parts"))
    said = "\n".join(part for part in parts if isinstance(part, str))
    return cited(said, mapping(written.get("metadata"))) if said.strip() else None


def search_results(metadata: Mapping[str, Any]) -> str:
    """A line for each page."""
    groups = map(mapping, items(metadata.get("search_result_groups")))
    pages = (mapping(entry) for group in groups for entry in items(group.get("entries")))
    lines = (f"{text(page.get('title'))} {text(page.get('url'))}".strip() for page in pages)
    return "\n".join(filter(None, lines))


def _json(given: str) -> Mapping[str, Any]:
    try:
        return mapping(json.loads(given))
    except (ValueError, RecursionError):
        return {}
