"""Failures of pages: an error becomes a page in the reader's language; visitors are redirected to the login."""

import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from fastapi import HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from datalayer import DataLayerError
from threadkeeper.settings.root_path import root_path
from threadkeeper.web.auth.gate import Person, person_at
from threadkeeper.web.pages.filled import Filled
from threadkeeper.web.pages.sentences import speaker
from threadkeeper.web.pages.shell import PageWriter
from threadkeeper.web.statuses import status_of

logger = logging.getLogger(__name__)

_LONGEST_WANTED = 2_000


class InvalidInput(Exception):
    """A value in the URL or in a form is invalid. Takes the key of the message for the reader, and its values."""

    status = 400

    def __init__(self, sentence: str, **values: object) -> None:
        super().__init__(sentence, values)
        self.sentence, self.values = sentence, values


class InvalidField(InvalidInput):
    """A field of a form is not valid. The page of the form, if its route names it, says so at the field."""

    def __init__(self, field: str, sentence: str, **values: object) -> None:
        super().__init__(sentence, **values)
        self.field = field


class TooLarge(InvalidInput):
    """A form is too large."""

    status = 413


class PageRoute(APIRoute):
    """The class of the routes that answer with a page. The state of the request has `pages`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_failures(request: Request) -> Response:
            try:
                return await handle(request)
            except HTTPException as error:
                if error.status_code == HTTPStatus.UNAUTHORIZED:
                    return RedirectResponse(login_address(request), HTTPStatus.SEE_OTHER)
                return _failure(request, error.status_code)
            except InvalidInput as error:
                reason = speaker(request)(error.sentence, **error.values)
                path, query = getattr(request.state, "form_page", ("", ""))
                if isinstance(error, InvalidField) and path:
                    refuse(request, error)
                    return _page_of_form(request, path, request.state.refused.text(query))
                return _failure(request, error.status, reason)
            except DataLayerError as error:
                status = status_of(error)
                level = logging.ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
                logger.log(level, "%s was answered with %d: %s", request.url.path, status, error)
                return _failure(request, status)

        return handle_failures


def refuse(request: Request, error: InvalidField) -> None:
    """Have the page that answers this request show the form with what was typed, and the sentence at the field."""
    problems = {error.field: speaker(request)(error.sentence, **error.values)}
    typed: dict[str, list[str]] = getattr(request.state, "typed", {})
    request.state.refused = Filled({name: texts[-1] for name, texts in typed.items()}, problems, typed)


def _page_of_form(request: Request, path: str, query: str) -> Response:
    own = path.format(**{name: quote(value, safe="") for name, value in request.path_params.items()})
    # The request that posted the form has an address that nobody can open.
    request.state.page_address = f"{own}?{query}" if query else own
    return _PageOfForm(root_path() + own, query)


class _PageOfForm(Response):
    """The page of a form, made by its own route. `refused` of the request's state has the form."""

    def __init__(self, path: str, query: str) -> None:
        super().__init__()
        self._path, self._query = path, query

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = {
            "method": "GET",
            "path": unquote(self._path),
            "raw_path": self._path.encode(),
            "query_string": self._query.encode(),
        }
        await scope["app"].router({**scope, **page}, receive, send)


def _failure(request: Request, status: int, reason: str | None = None) -> Response:
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        # A page has one status for what is not valid.
        status = HTTPStatus.BAD_REQUEST
    known = str(int(status) if status in (400, 403, 404, 409, 413, 503) else 500)
    is_posted = request.method == "POST"
    if is_posted and status == HTTPStatus.BAD_REQUEST:
        known = "form"
    pages: PageWriter = request.state.pages
    response = pages.page(
        request,
        "failure.html",
        {
            "title": speaker(request)(f"failure_{known}"),
            "reason": reason or speaker(request)(f"failure_{known}_reason"),
            "back": _came_from(request) if is_posted else None,
        },
        person=_person(request),
        status=status,
    )
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = "5"
    return response


def login_address(request: Request) -> str:
    """The login page, with the requested path as `next`, which `public/threadkeeper.js` reads."""
    wanted = quote(request.url.path) + (f"?{request.url.query}" if request.url.query else "")
    if request.method != "GET" or len(wanted) > _LONGEST_WANTED:
        return "/login"
    return f"/login?next={quote(wanted, safe='/')}"


def _came_from(request: Request) -> str | None:
    """The path of our page that held the form, from the Referer; None without one or with another host's."""
    try:
        came = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return None
    # Browsers read a path that begins with two slashes, or a slash and a backslash, as the address of another host.
    is_path = came.path.startswith("/") and not came.path.startswith(("//", "/\\"))
    if came.scheme not in ("http", "https") or came.netloc != request.headers.get("host") or not is_path:
        return None
    return came.path + (f"?{came.query}" if came.query else "")


def _person(request: Request) -> Person | None:
    """The logged-in user; None also when the account cannot be looked up now."""
    try:
        return person_at(request)
    except DataLayerError:
        return None
