"""Documents that an answer writes beside the chat (a canvas, an artifact), as text of the answer."""

import re

_BACKTICKS = re.compile(r"`{3,}")


def document(title: str, content: str, language: str | None = None) -> str:
    """The document below its title: as Markdown, or with a `language` as code."""
    head = f"**{title.strip()}**\n\n" if title.strip() else ""
    if language is None:
        return f"{head}{content}"
    fence = "`" * max(3, *(len(found) + 1 for found in _BACKTICKS.findall(content)), 3)
    return f"{head}{fence}{language}\n{content.rstrip()}\n{fence}"
