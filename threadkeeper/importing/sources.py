"""The pages that an answer cites, as links in its text: the chat, the search and exports show them there."""

import re
from collections.abc import Sequence

from threadkeeper.importing.model import Source

_GOES_ON = re.compile(r"[\w/?#%&=~+@$(-]|[.,:;!'*]+[\w/?#%&=~+@$-]")
"""What follows a URL that is longer. A mark of the sentence behind it is no part of it."""


def link(page: Source) -> str:
    return f"[{re.sub(r'[][]', '', page.title) or page.url}](<{_escaped(page.url)}>)"


def with_links(said: str, sources: Sequence[Source]) -> str:
    """The text, followed by a list of those pages that it does not link itself."""
    pages = {page.url: page for page in sources if not (_has(said, page.url) or _has(said, _escaped(page.url)))}
    lines = [f"{at}. {link(page)}" for at, page in enumerate(pages.values(), 1)]
    return "\n\n".join(filter(None, (said.rstrip() if lines else said, "\n".join(lines))))


def _has(said: str, url: str) -> bool:
    """Whether the text has this URL, and not only a longer one that contains it."""
    at = said.find(url)
    while at >= 0:
        end = at + len(url)
        if said[at - 1 : at] not in ("/", "=") and not _GOES_ON.match(said, end):
            return True
        at = said.find(url, end)
    return False


def _escaped(url: str) -> str:
    return re.sub(r"[<>\s]", lambda found: f"%{ord(found[0]):02X}", url)
