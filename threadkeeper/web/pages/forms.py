"""Reads posted forms: bounded, and only with the form token of this login.

No other site can read or guess the token, so forms posted from other sites are refused. The login cookie is also
`SameSite`.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from datalayer.cleaning import clean_text
from threadkeeper.language.numbers import parsed, separators
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.failures import InvalidField, InvalidInput
from threadkeeper.web.pages.form_token import TOKEN_FIELD, is_from_this_login

LARGEST_FORM = 1_000_000
"""Bytes. The longest field is a better answer."""
_MOST_FIELDS = 400
_SEE_OTHER = 303


class Posted:
    """The fields of a form."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._fields = fields

    @property
    def token(self) -> str:
        """The form token, or "" without one."""
        return next((value for name, value in self._fields if name == TOKEN_FIELD), "")

    @property
    def typed(self) -> dict[str, list[str]]:
        """The texts of all fields of each name, as they are shown again."""
        texts: dict[str, list[str]] = {}
        for name, text in self._fields:
            texts.setdefault(name, []).append(text)
        return texts

    def has(self, name: str) -> bool:
        """Whether the form has this field."""
        return any(found == name for found, _ in self._fields)

    def one(self, name: str, *, longest: int = 2_000, shown_at: str = "") -> str:
        """The text of a field, or "" without one; the last one if it was sent several times.

        Args:
            name: of the field.
            longest: the most characters. A line break is one, as for `maxlength`, although browsers send two.
            shown_at: the id of the field on its page, where it differs from the name.

        Raises:
            InvalidField: it is too long.
        """
        value = _cleaned(next((value for found, value in reversed(self._fields) if found == name), ""))
        if len(value) > longest:
            raise InvalidField(shown_at or name, "bad_length", most=longest)
        return value

    def secret(self, name: str, *, longest: int) -> str:
        """The text of a field, every character as it was typed; "" without one.

        Raises:
            InvalidField: it is too long.
        """
        value = next((value for found, value in reversed(self._fields) if found == name), "")
        if len(value) > longest:
            raise InvalidField(name, "bad_length", most=longest)
        return value

    def all(self, name: str, *, longest: int = 200, most: int = 100) -> tuple[str, ...]:
        """The different non-empty texts of all fields of this name.

        Raises:
            InvalidInput: there are too many, or one is too long.
        """
        values = [_cleaned(value) for found, value in self._fields if found == name and value.strip()]
        if len(values) > most or any(len(value) > longest for value in values):
            raise InvalidField(name, "bad_length", most=longest)
        return tuple(dict.fromkeys(values))

    def each(self, name: str, *, longest: int) -> list[str]:
        """The texts of all fields of this name, in their order.

        Raises:
            InvalidInput: one is too long.
        """
        values = [_cleaned(value) for found, value in self._fields if found == name]
        if any(len(value) > longest for value in values):
            raise InvalidField(name, "bad_length", most=longest)
        return values

    def number(self, name: str, *, least: float, most: float) -> float:
        """The number in a field of the type `number`, of which browsers send 1234.5 in every language.

        Raises:
            InvalidInput: it is not a number, or out of bounds.
        """
        text = self.one(name, longest=40)
        try:
            value = float(text)
        except ValueError:
            raise InvalidField(name, "bad_number", value=text, least=f"{least:g}", most=f"{most:g}") from None
        if not least <= value <= most:
            raise InvalidField(name, "bad_number", value=text, least=f"{least:g}", most=f"{most:g}")
        return value

    def amount(self, name: str, language: str) -> Decimal:
        """The number in a text field, written as in the reader's language.

        Raises:
            InvalidInput: it is not a number, or not clearly one.
        """
        text = self.one(name, longest=40).strip()
        try:
            return parsed(text, language)
        except ValueError:
            raise InvalidField(name, "bad_decimal", value=text, example=f"1234{separators(language)[0]}5") from None


def _cleaned(text: str) -> str:
    return clean_text(text).replace("\r\n", "\n")


async def read_form(request: Request, *, most_bytes: int = LARGEST_FORM, most_fields: int = _MOST_FIELDS) -> Posted:
    """The form of a request, which has the token of this login.

    Raises:
        InvalidInput: it is no form, or has too many fields.
        HTTPException: it is too large, or the token is not that of this login.
    """
    posted = await read_fields(request, most_bytes=most_bytes, most_fields=most_fields)
    demand_token(request, posted.token)
    return posted


async def read_fields(request: Request, *, most_bytes: int, most_fields: int = _MOST_FIELDS) -> Posted:
    """The form of a request, whoever sent it.

    Raises:
        InvalidInput: it is no form, or has too many fields.
        HTTPException: it is too large.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise HTTPException(413, "The form is too large.")
    try:
        text = body.decode()
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=most_fields)
    except ValueError:
        raise InvalidInput("bad_form") from None
    posted = Posted(fields)
    request.state.typed = posted.typed
    return posted


def demand_token(request: Request, given: str) -> None:
    """Require the form token of this login.

    Raises:
        HTTPException: it is another.
    """
    if not is_from_this_login(request, given):
        raise HTTPException(403, "The form token does not belong to this login.")


async def _posted(request: Request, _person: LoggedIn) -> Posted:
    return await read_form(request)


def page_of_form(path: str, *, query: str = "") -> Any:
    """A dependency of the route of a form: the page that has the form.

    If the route raises `InvalidField`, this page is shown again, with what was typed and the sentence at the field.

    Args:
        path: of the page, as in the decorator of its route. Its parameters are those of the form's route.
        query: the field of the form that has the query of the page.
    """

    async def name_page(request: Request) -> None:
        request.state.form_page = (path, query)

    return Depends(name_page)


Form = Annotated[Posted, Depends(_posted)]


def redirect_to(address: str) -> Response:
    """Send the browser to a page after its form was handled, so that a reload does not post it again."""
    return RedirectResponse(address, _SEE_OTHER)
