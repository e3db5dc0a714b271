"""The messages of the pages, in the language that the browser asks for first."""

from collections.abc import Callable

from fastapi import Request

from threadkeeper.language.catalogue import PAGES
from threadkeeper.language.negotiation import is_chinese

Say = Callable[..., str]
"""Takes the key of a message, and the values of its placeholders by name."""


def speaker(request: Request) -> Say:
    """The messages in the language of the request."""
    chinese = is_chinese(request.headers.get("accept-language"))

    def say(key: str, **values: object) -> str:
        return PAGES[key][chinese].format_map(values)

    return say
