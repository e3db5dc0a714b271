"""What a form of ours posts: read here alone, bounded, and only where the form is from a page of this very login.

Each form carries a token made of the login's cookie, which no other page can read or guess: what another site has a
browser post is refused. Beside it the cookie itself is `SameSite`.
"""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, HTTPException, Request

from datalayer.cleaning import clean_text
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.form_token import TOKEN_FIELD, is_from_this_login
from threadkeeper.web.pages.shell import BadAddress

LARGEST_FORM = 1_000_000
"""Bytes; a better answer may be long."""
_MOST_FIELDS = 400


class Posted:
    """The fields of a form."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._fields = fields

    def one(self, name: str, *, longest: int = 2_000) -> str:
        """The text of a field, or "" where it is not there.

        Raises:
            BadAddress: it is too long.
        """
        value = next((value for found, value in reversed(self._fields) if found == name), "")
        if len(value) > longest:
            raise BadAddress("bad_length", most=longest)
        return clean_text(value).replace("\r\n", "\n")

    def all(self, name: str, *, longest: int = 200, most: int = 100) -> tuple[str, ...]:
        """The texts of all fields of this name that are not empty, each once.

        Raises:
            BadAddress: there are too many, or one is too long.
        """
        values = [clean_text(value) for found, value in self._fields if found == name and value.strip()]
        if len(values) > most or any(len(value) > longest for value in values):
            raise BadAddress("bad_length", most=longest)
        return tuple(dict.fromkeys(values))

    def number(self, name: str, *, least: float, most: float) -> float:
        """The number of a field.

        Raises:
            BadAddress: it is none, or out of bounds.
        """
        text = self.one(name, longest=40)
        try:
            value = float(text)
        except ValueError:
            raise BadAddress("bad_number", value=text, least=f"{least:g}", most=f"{most:g}") from None
        if not least <= value <= most:
            raise BadAddress("bad_number", value=text, least=f"{least:g}", most=f"{most:g}")
        return value


async def _posted(request: Request, _person: LoggedIn) -> Posted:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            raise HTTPException(413, "The form is too large.")
    try:
        text = body.decode()
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise BadAddress("bad_form") from None
    given = next((value for name, value in fields if name == TOKEN_FIELD), "")
    if not is_from_this_login(request, given):
        raise HTTPException(403, "The form is not from a page of this login.")
    return Posted(fields)


Form = Annotated[Posted, Depends(_posted)]
