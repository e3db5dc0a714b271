"""Everything that was looked at and by whom, for admins."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from datalayer.cleaning import clean_text
from threadkeeper.web.auth.roles import Admin
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.shell import BadAddress, Pages
from threadkeeper.web.review.reader import ReviewReader
from threadkeeper.web.usage.query import ZONE_COOKIE, zone_of

ROWS_A_PAGE = 100
_LONGEST = 300


def audit_router(layer: Callable[[], ReviewReader], pages: Pages) -> APIRouter:
    """The page of the audit.

    Args:
        layer: gives the data layer.
        pages: writes the pages.
    """
    router = APIRouter(route_class=pages.route())

    @router.get("/review/audit", include_in_schema=False)
    async def read_audit(request: Request, person: Admin) -> Response:
        asked = {name: clean_text(request.query_params.get(name, "")) for name in ("actor", "thread", "cursor")}
        if any(len(value) > _LONGEST for value in asked.values()):
            raise BadAddress("bad_cursor")
        found = await layer().list_audit(
            actor=asked["actor"] or None,
            thread_id=asked["thread"] or None,
            cursor=asked["cursor"] or None,
            limit=ROWS_A_PAGE,
        )
        zone = zone_of(request.cookies.get(ZONE_COOKIE, ""), pages.time_zone)
        values = {"found": found, "asked": asked, "formats": formats, "reader_zone": zone, "zone": zone.key}
        return pages.page(request, "review/audit.html", {**values, "rows_a_page": ROWS_A_PAGE}, person=person)

    return router
