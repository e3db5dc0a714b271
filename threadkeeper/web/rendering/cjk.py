"""Rules of Markdown for Chinese, Japanese and Korean text, which has no spaces between words."""

import re
from typing import Any

from linkify_it import LinkifyIt

# Not the middle dot: it stands inside of titles, also in addresses.
_ENDS_OF_ADDRESS = re.compile("[、。〃〈-】〔-〟！＂＇（），．：；？［］｛｜｝～-､“”‘’…—]")


class LinkFinder(LinkifyIt):  # type: ignore[misc]
    """Finds bare URLs; a URL ends before full-width punctuation.

    A Chinese word right after a URL stays a part of it, as in the addresses of the Chinese Wikipedia.
    """

    def match_at_start(self, text: str) -> Any:
        """The link at the start of the text, or None."""
        link = super().match_at_start(text)
        if link and (end := _ENDS_OF_ADDRESS.search(text, link.index, link.last_index)):
            # A second search, because the shorter text may end with a full stop, which is no part of the URL.
            return super().match_at_start(text[: end.start()])
        return link
