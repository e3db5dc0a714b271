"""What LibreChat's answers cite: anchors in the text, which name a result of one of the answer's searches."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from threadkeeper.importing.model import Source
from threadkeeper.importing.sources import link
from threadkeeper.importing.values import items, mapping, number, text

SEARCH = "web_search"
FOUND = (SEARCH, "file_search")
"""The types of attachments that an answer can cite."""
# A character of the private use area, or its name as text. Some only enclose the words that an anchor is about.
_ANCHOR = re.compile(r" ?(?:[\ue200-\ue206]|\\ue20[0-6])(?:turn(\d{1,6})([a-z]+)(\d{1,6}))?")
# What nobody writes who only writes about the characters.
_CERTAIN = re.compile(r"[\ue200-\ue206]turn\d{1,6}[a-z]+\d")
_LISTS = {"search": "organic", "news": "topStories"}


def found_pages(attachments: Sequence[Any]) -> dict[tuple[int, str, int], Source]:
    """The results of the searches, by what an anchor says: the number of the search, the kind, and the place."""
    pages: dict[tuple[int, str, int], Source] = {}
    for at, search in enumerate(mapping(one).get(SEARCH) for one in attachments if mapping(one).get("type") == SEARCH):
        about = mapping(search)
        turn = number(about.get("turn"))
        for kind, listed in _LISTS.items():
            for place, page in enumerate(map(mapping, items(about.get(listed)))):
                url = text(page.get("link")) or text(page.get("url"))
                if url.startswith(("http://", "https://")):
                    pages[int(at if turn is None else turn), kind, place] = Source(url, text(page.get("title")))
    return pages


def cited(
    said: str, pages: Mapping[tuple[int, str, int], Source], *, has_found: bool
) -> tuple[str, tuple[Source, ...]]:
    """The text with links in place of its anchors, and the pages that it cites.

    Args:
        has_found: whether the message has results that it can cite. Otherwise what looks like anchors may be text.
    """
    if not has_found and not _CERTAIN.search(said):
        return said, ()
    used: dict[str, Source] = {}

    def shown(anchor: re.Match[str]) -> str:
        turn, kind, place = anchor.groups()
        page = pages.get((int(turn), kind, int(place))) if turn is not None else None
        if page is None:
            return "" if turn is not None or anchor[0][0] != " " else " "
        used[page.url] = page
        return f" ({link(page)})"

    return _ANCHOR.sub(shown, said), tuple(used.values())
