"""Our own pages: HTML written by the server, in the look of the chat, with every value escaped.

A page works without scripts; ours only draw charts and remember the reader's time zone. Nothing on a page comes from
another host, nothing is written into it as a script, and whatever fails is told on a page of the same look.
"""

import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined

from datalayer import DataLayerError, Forbidden, InvalidRecord, NotFound, StorageUnavailable
from threadkeeper.language.catalogue import PAGES
from threadkeeper.language.negotiation import is_chinese
from threadkeeper.web.auth.gate import Person, person_at
from threadkeeper.web.auth.roles import may_review
from threadkeeper.web.pages.assets import Assets
from threadkeeper.web.pages.form_token import form_token
from threadkeeper.web.rendering.highlight import ColourTime
from threadkeeper.web.rendering.markdown import markdown

logger = logging.getLogger(__name__)

Say = Callable[..., str]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_LONGEST_WANTED = 2_000
# The first that fits: a subclass stands before its base.
_FAILURES: tuple[tuple[type[DataLayerError], int], ...] = (
    (NotFound, 404),
    (Forbidden, 404),
    (InvalidRecord, 400),
    (StorageUnavailable, 503),
    (DataLayerError, 500),
)


class BadAddress(Exception):
    """What stands in the address makes no sense. Takes the name of the sentence that says so, and its values."""

    def __init__(self, sentence: str, **values: object) -> None:
        super().__init__(sentence, values)
        self.sentence, self.values = sentence, values


class Pages:
    """Writes pages.

    Args:
        theme: Chainlit's `public/theme.json`.
        time_zone: where days begin for a reader whose browser names none.
    """

    def __init__(self, theme: Path | None = None, *, time_zone: str = "UTC") -> None:
        self.time_zone = time_zone
        self.assets = Assets(theme)
        self._environment = Environment(
            loader=PackageLoader("threadkeeper.web.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["markdown"] = markdown

    def page(
        self,
        request: Request,
        template: str,
        values: Mapping[str, Any],
        *,
        person: Person | None,
        status: int = 200,
        draws: bool = False,
        judges: bool = False,
    ) -> Response:
        """The page that the template makes of the values.

        Args:
            draws: whether it has charts: the plotting library sets styles on single elements, which is allowed then.
            judges: whether it has answers to go through by keyboard.
        """
        say = speaker(request)
        html = self._environment.get_template(template).render(
            values,
            say=say,
            person=person,
            assets=self.assets,
            colour_time=ColourTime(),
            draws=draws,
            judges=judges,
            path=request.url.path,
            form_token=form_token(request),
            may_review=person is not None and may_review(person),
        )
        headers = {
            "Content-Security-Policy": _POLICY.format(styles=" 'unsafe-inline'" if draws else ""),
            "X-Frame-Options": "DENY",
            # For the reader alone, and not for whoever sits down at the browser next.
            "Cache-Control": "private, no-store",
            "Vary": "Accept-Language, Cookie",
            "Content-Language": say("language"),
        }
        return HTMLResponse(html, status, headers=headers)

    def route(self) -> type[APIRoute]:
        """The class of a page's routes, by which failures become pages too, and visitors are sent to log in."""
        pages = self

        class PageRoute(APIRoute):
            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                handle = super().get_route_handler()

                async def handle_or_tell(request: Request) -> Response:
                    try:
                        return await handle(request)
                    except HTTPException as error:
                        if error.status_code == HTTPStatus.UNAUTHORIZED:
                            return RedirectResponse(_login_address(request), HTTPStatus.SEE_OTHER)
                        return pages._failure(request, error.status_code)
                    except BadAddress as error:
                        return pages._failure(request, 400, speaker(request)(error.sentence, **error.values))
                    except DataLayerError as error:
                        status = next(status for kind, status in _FAILURES if isinstance(error, kind))
                        level = logging.ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
                        logger.log(level, "%s was answered with %d: %s", request.url.path, status, error)
                        return pages._failure(request, status)

                return handle_or_tell

        return PageRoute

    def _failure(self, request: Request, status: int, reason: str | None = None) -> Response:
        known = str(status if status in (400, 403, 404, 413, 503) else 500)
        is_posted = request.method == "POST"
        if is_posted and status == HTTPStatus.BAD_REQUEST:
            known = "form"
        response = self.page(
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


def _login_address(request: Request) -> str:
    """Where to log in, with where to go on to then: `public/threadkeeper.js` reads it."""
    wanted = quote(request.url.path) + (f"?{request.url.query}" if request.url.query else "")
    if request.method != "GET" or len(wanted) > _LONGEST_WANTED:
        return "/login"
    return f"/login?next={quote(wanted, safe='/')}"


def _came_from(request: Request) -> str | None:
    """The path of our own page that the browser says the form was on; None where it says none, or another's."""
    try:
        came = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return None
    # A path that begins with two slashes, or with what a browser takes for one, is the address of another host.
    is_path = came.path.startswith("/") and not came.path.startswith(("//", "/\\"))
    if came.scheme not in ("http", "https") or came.netloc != request.headers.get("host") or not is_path:
        return None
    return came.path + (f"?{came.query}" if came.query else "")


def _person(request: Request) -> Person | None:
    """Who reads of a failure; nobody, where that cannot be looked up now."""
    try:
        return person_at(request)
    except DataLayerError:
        return None


def speaker(request: Request) -> Say:
    """Says a sentence in the language that the browser asks for first."""
    chinese = is_chinese(request.headers.get("accept-language"))

    def say(key: str, **values: object) -> str:
        return PAGES[key][chinese].format_map(values)

    return say


def as_json(value: Any) -> str:
    """JSON as an attribute may hold it, once it is escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
