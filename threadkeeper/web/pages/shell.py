"""Our own pages: HTML written by the server, styled like the chat, with every value escaped.

A page works without scripts; ours only draw charts, remember the reader's time zone, add keyboard shortcuts and
offer long receipts as a file.
Pages load nothing from other hosts and contain no inline scripts.
"""

from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from threadkeeper.settings.root_path import root_path
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.auth.roles import is_admin, may_review
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.assets import Assets
from threadkeeper.web.pages.filled import EMPTY, Filled
from threadkeeper.web.pages.form_token import form_token
from threadkeeper.web.pages.sentences import speaker
from threadkeeper.web.rendering.highlight import ColourTime
from threadkeeper.web.rendering.markdown import as_preview, markdown
from threadkeeper.web.root_path import own_path, page_under_root

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@cache
def _environment() -> Environment:
    """The templates. All writers of a process share them, so that each is compiled once."""
    environment = Environment(
        loader=PackageLoader("threadkeeper.web.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markdown"] = markdown
    environment.filters["preview"] = as_preview
    environment.globals["formats"] = formats.for_templates()
    return environment


class PageWriter:
    """Renders the templates.

    Args:
        theme: Chainlit's `public/theme.json`.
        time_zone: where days begin for a reader whose browser sends no zone.
    """

    def __init__(self, theme: Path | None = None, *, time_zone: str = "UTC") -> None:
        self.time_zone = time_zone
        self.assets = Assets(theme)
        self._environment = _environment()

    def page(
        self,
        request: Request,
        template: str,
        values: Mapping[str, Any],
        *,
        person: Person | None,
        zone: ZoneInfo | None = None,
        status: int = 200,
        draws: bool = False,
        judges: bool = False,
        saves: bool = False,
        page_address: str = "",
    ) -> Response:
        """Render a template as a response.

        Args:
            request: gives language, login and path.
            template: the file below `templates/`.
            values: the variables of the template. `form` is a `Filled`; a form that was refused is laid over it.
            person: the reader; None for a visitor.
            zone: the zone of the times on the page, if it shows any.
            status: the HTTP status.
            draws: whether the page has charts. The plotting library sets `style` attributes, which is allowed then.
            judges: whether the page has answers with keyboard shortcuts.
            saves: whether the page has a receipt for `receipt.js`.
            page_address: of the page, with its query, if the request posted a form to another.
        """
        say = speaker(request)
        root = root_path()
        refused: Filled = getattr(request.state, "refused", EMPTY)
        if refused.problems and status == HTTPStatus.OK:
            status = HTTPStatus.BAD_REQUEST
        form: Filled = values.get("form", EMPTY)
        html = self._environment.get_template(template).render(
            {**values, "form": refused.over(form)},
            say=say,
            refused=refused,
            person=person,
            zone=zone,
            assets=self.assets,
            colour_time=ColourTime(),
            draws=draws,
            judges=judges,
            saves=saves,
            path=own_path(request.scope),
            page_address=page_address or getattr(request.state, "page_address", ""),
            root=root,
            form_token=form_token(request),
            may_review=person is not None and may_review(person),
            is_admin=person is not None and is_admin(person),
        )
        headers = {
            "Content-Security-Policy": _POLICY.format(styles=" 'unsafe-inline'" if draws else ""),
            "X-Frame-Options": "DENY",
            # No cache keeps it: the next person at this browser may not be allowed to read it.
            "Cache-Control": "private, no-store",
            "Vary": "Accept-Language, Cookie",
            "Content-Language": say.language,
        }
        return HTMLResponse(page_under_root(html, root), status, headers=headers)
