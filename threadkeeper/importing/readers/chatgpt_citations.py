"""Citations in the texts of ChatGPT as links.

The text has marks between characters of the private use area, or as in 【11†source】; the metadata says which pages
each mark stands for. Some marks have words in them, which the chat shows.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from threadkeeper.importing.model import Source
from threadkeeper.importing.sources import link
from threadkeeper.importing.values import items, mapping, text

_MARK = re.compile("( ?)(\ue200([^\ue200\ue201]*)\ue201|\u3010[^\u3010\u3011]*\u3011)")
_PARTS = "\ue202"
# Ends of marks without a beginning, and what encloses the words that a mark is about.
_STRAY = re.compile("[\ue200-\ue206]")


def cited(said: str, metadata: Mapping[str, Any]) -> tuple[str, tuple[Source, ...]]:
    """The text with links in place of its marks, and the cited pages in the order of the text."""
    sources: dict[str, Source] = {}
    words: dict[str, str] = {}
    # Of several marks in a row, the first one gets the words of all.
    behind: set[str] = set()

    def put(marks: str, shown: str) -> None:
        for at, found in enumerate(_MARK.finditer(marks)):
            if at:
                behind.add(found[2])
            else:
                words.setdefault(found[2], shown)

    references, citations = items(metadata.get("content_references")), items(metadata.get("citations"))
    for reference in map(mapping, references):
        mark = text(reference.get("matched_text"))
        pages = [*_pages(reference)]
        for found in pages:
            sources.setdefault(found.url, found)
        if pages or reference.get("type") == "file":
            put(mark, _links(pages) or _named(reference))
    for citation in map(mapping, citations):
        about = mapping(citation.get("metadata"))
        mark = text(mapping(about.get("extra")).get("cited_message_id")) and text(about.get("matched_text"))
        page = _page(about)
        if page is not None:
            sources.setdefault(page.url, page)
            if mark:
                put(mark, _links([page]))

    def shown(found: re.Match[str]) -> str:
        space, mark, within = found.groups()
        if mark in words or mark in behind:
            return words.get(mark, "")
        return space + (mark if within is None or _PARTS not in within else _words(within))

    # In one pass, so that what is put there is never taken for a mark: a title can have one.
    said = _MARK.sub(shown, said)
    # Without a reference, such a character is what the text is about.
    return _STRAY.sub("", said) if references or citations else said, tuple(sources.values())


def _pages(reference: Mapping[str, Any]) -> Iterator[Source]:
    listed = (*items(reference.get("items")), *items(reference.get("sources"))) or (reference,)
    for one in map(mapping, listed):
        for about in (one, *map(mapping, items(one.get("supporting_websites")))):
            if (page := _page(about)) is not None:
                yield page


def _page(about: Mapping[str, Any]) -> Source | None:
    url = text(about.get("url"))
    return Source(url, text(about.get("title"))) if url.startswith(("http://", "https://")) else None


def _links(pages: list[Source]) -> str:
    found = ", ".join(map(link, pages))
    return f" ({found})" if found else ""


def _named(reference: Mapping[str, Any]) -> str:
    """The name of a cited file."""
    name = text(reference.get("name")).replace("`", "")
    return f" (`{name}`)" if name else ""


def _words(mark: str) -> str:
    """What the chat shows for a mark without a page: the name of a person or place, or the words of a link."""
    kind, *parts = mark.split(_PARTS)
    if kind == "url" and parts:
        named = _page({"url": parts[-1], "title": parts[0]})
        return link(named) if named else parts[0]
    if kind == "entity" and parts:
        try:
            found = items(json.loads(parts[0]))
        except (ValueError, RecursionError):
            return ""
        return text(found[1]) if len(found) > 1 else ""
    return ""
