"""The audit, for admins: who opened, copied or exported which thread, and who changed which account."""

from fastapi import APIRouter, Request, Response

from datalayer.cleaning import clean_text
from datalayer.records.audit import OF_USERS
from threadkeeper.web.auth.roles import Admin
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.zone import Zone

ROWS_A_PAGE = 100
_LONGEST = 300

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/review/audit")
async def read_audit(request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone) -> Response:
    asked = {name: clean_text(request.query_params.get(name, "")) for name in ("actor", "thread", "cursor")}
    if any(len(value) > _LONGEST for value in asked.values()):
        raise InvalidInput("bad_cursor")
    found = await layer.list_audit(
        actor=asked["actor"] or None,
        thread_id=asked["thread"] or None,
        cursor=asked["cursor"] or None,
        limit=ROWS_A_PAGE,
    )
    names = await layer.names_of_users(
        {one.owner_id for one in found.entries if one.action in OF_USERS and one.owner_id}
    )
    values = {"found": found, "asked": asked, "rows_a_page": ROWS_A_PAGE, "names": names, "of_users": OF_USERS}
    return pages.page(request, "review/audit.html", values, person=person, zone=zone)
