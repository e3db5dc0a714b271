"""Chainlit's page without the directives that would take words out of a text.

Chainlit reads `:::note` blocks by a Markdown extension which also takes `:name` within a text, and `::name` on a line
of its own, for directives. Nothing shows those: of "Status:OK", readers saw "Status". Here, the extension keeps its
blocks alone.
"""

import logging
import re

logger = logging.getLogger(__name__)

# The extension as the bundler wrote it: what begins with ":" in a text, and in the flow of blocks first the container,
# then the leaf. 58 is the code of ":".
_EXTENSION = re.compile(r"\{text:\{58:[\w$]+\},flow:\{58:\[([\w$]+),[\w$]+\]\}\}")
RULE = _EXTENSION.pattern


def without_directives(script: str) -> str | None:
    """The page's script with containers alone; None if the extension is not in it."""
    mended, found = _EXTENSION.subn(r"{flow:{58:[\1]}}", script)
    if found > 1:
        logger.warning("Chainlit's page has the extension for directives %d times; all were changed", found)
    return mended if found else None
