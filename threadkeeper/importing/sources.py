"""The pages that an answer cites, as links in its text: the chat, the search and exports show them there."""

import re
from collections.abc import Sequence

from threadkeeper.importing.model import Source


def link(page: Source) -> str:
    return f"[{re.sub(r'[][]', '', page.title) or page.url}](<{_escaped(page.url)}>)"


def with_links(said: str, sources: Sequence[Source]) -> str:
    """The text, followed by a list of those pages that it does not link itself."""
    pages = {page.url: page for page in sources if page.url not in said and _escaped(page.url) not in said}
    lines = [f"{at}. {link(page)}" for at, page in enumerate(pages.values(), 1)]
    return "\n\n".join(filter(None, (said.rstrip() if lines else said, "\n".join(lines))))


def _escaped(url: str) -> str:
    return re.sub(r"[<>\s]", lambda found: f"%{ord(found[0]):02X}", url)
