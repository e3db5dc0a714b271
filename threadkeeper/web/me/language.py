"""The form at `/me` for the language of this browser."""

from fastapi import APIRouter, Response

from threadkeeper.language.chosen import LANGUAGE_COOKIE
from threadkeeper.language.negotiation import LANGUAGES
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.forms import Form, redirect_to

_YEAR = 365 * 24 * 60 * 60

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.post("/me/language")
async def choose_language(_person: LoggedIn, form: Form) -> Response:
    """Keep the choice in the browser for a year; an empty one forgets it."""
    language = form.one("language", longest=40)
    if language and language not in LANGUAGES:
        raise InvalidInput("bad_language", value=language)
    response = redirect_to("/me#language")
    if language:
        response.set_cookie(LANGUAGE_COOKIE, language, _YEAR, httponly=True, samesite="lax")
    else:
        response.delete_cookie(LANGUAGE_COOKIE, httponly=True, samesite="lax")
    return response
