"""The messages of the pages, in the reader's language."""

from dataclasses import dataclass

from fastapi import Request

from threadkeeper.language.catalogue import PAGES
from threadkeeper.language.negotiation import language_for


@dataclass(frozen=True, slots=True)
class Say:
    """Says messages in a language, one of `LANGUAGES`."""

    language: str

    def __call__(self, key: str, **values: object) -> str:
        """The message with its values, as in `Catalogue.say`."""
        return PAGES.say(key, self.language, **values)


def speaker(request: Request) -> Say:
    """The messages in the language of the request."""
    return Say(language_for(request.headers.get("accept-language")))
