"""Citations in the texts of ChatGPT as links.

The text has marks between characters of the private use area, or as in 【11†source】; the metadata says which pages
each mark stands for.
"""

import re
from collections.abc import Mapping
from typing import Any

from threadkeeper.importing.model import Source
from threadkeeper.importing.sources import link
from threadkeeper.importing.values import items, mapping, text

_MARK = re.compile("\ue200[^\ue201]*\ue201")
_MARKED = re.compile("[\ue200\u3010]")


def cited(said: str, metadata: Mapping[str, Any]) -> tuple[str, tuple[Source, ...]]:
    """The text with links in place of its marks, and the cited pages in the order of the text."""
    sources: dict[str, Source] = {}
    for reference in map(mapping, items(metadata.get("content_references"))):
        mark = text(reference.get("matched_text"))
        pages = [page for one in items(reference.get("items")) or [reference] if (page := _page(mapping(one)))]
        for page in pages:
            sources.setdefault(page.url, page)
        if _MARKED.search(mark):
            said = said.replace(mark, _links(pages))
    for citation in map(mapping, items(metadata.get("citations"))):
        about = mapping(citation.get("metadata"))
        mark = text(mapping(about.get("extra")).get("cited_message_id")) and text(about.get("matched_text"))
        page = _page(about)
        if page is not None:
            sources.setdefault(page.url, page)
            if mark:
                said = said.replace(mark, _links([page]))
    return _MARK.sub("", said), tuple(sources.values())


def _page(about: Mapping[str, Any]) -> Source | None:
    url = text(about.get("url"))
    return Source(url, text(about.get("title"))) if url.startswith(("http://", "https://")) else None


def _links(pages: list[Source]) -> str:
    found = ", ".join(map(link, pages))
    return f" ({found})" if found else ""
