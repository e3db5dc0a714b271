"""The audit, for admins: who opened, copied or exported which thread, and who changed which account."""

from decimal import Decimal

from fastapi import APIRouter, Request, Response

from datalayer.cleaning import clean_text
from datalayer.records.audit import OF_USERS, AuditEntry
from threadkeeper.web.auth.roles import Admin
from threadkeeper.web.pages.cursors import cursor_of
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.formats import money
from threadkeeper.web.pages.sentences import Say, speaker
from threadkeeper.web.pages.zone import Zone

ROWS_A_PAGE = 100
_LONGEST = 300
_MODELS_SHOWN = 3

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/review/audit")
async def read_audit(request: Request, person: Admin, layer: Layer, pages: Pages, zone: Zone) -> Response:
    cursor = cursor_of(request.query_params)
    asked = {name: clean_text(request.query_params.get(name, "")) for name in ("actor", "thread")}
    if any(len(value) > _LONGEST for value in asked.values()):
        raise InvalidInput("bad_cursor")
    found = await layer.list_audit(
        actor=asked["actor"] or None,
        thread_id=asked["thread"] or None,
        cursor=cursor,
        limit=ROWS_A_PAGE,
    )
    say = speaker(request)
    names = await layer.names_of_users({one for one in map(_person_of, found.entries) if one})
    values = {
        "found": found,
        "asked": asked,
        "rows_a_page": ROWS_A_PAGE,
        "names": names,
        "of_users": OF_USERS,
        "person_of": _person_of,
        "details_of": lambda entry: _details_of(entry, say),
    }
    return pages.page(request, "review/audit.html", values, person=person, zone=zone)


def _person_of(entry: AuditEntry) -> str | None:
    """The id of the person whom the act changed."""
    details = entry.details or {}
    if details.get("scope") == "user":
        return str(details.get("subject") or "") or None
    return entry.owner_id if entry.action in OF_USERS else None


def _details_of(entry: AuditEntry, say: Say) -> str:
    """What was changed, for eyes: the limit, the names of models, projects and roles, the beginning of a key."""
    details = entry.details or {}
    if entry.action == "put_limit" and details.get("period"):
        amount = details["amount"]
        tokens = details["unit"] == "tokens"
        shown = say("admin_tokens", count=int(Decimal(amount))) if tokens else money(Decimal(amount), say)
        return say(f"admin_limit_{details['period']}", amount=shown)
    found = [details.get(name) for name in ("model", "slug", "role", "prefix")]
    models = details.get("models")
    named = [*models[:_MODELS_SHOWN], *found] if isinstance(models, list) else found
    shown = ", ".join(one for one in named if isinstance(one, str))
    # Of a long list of prices, the audit has the names of the first, and the count of all.
    more = details.get("count", len(models)) - _MODELS_SHOWN if isinstance(models, list) else 0
    return say("audit_more", names=shown, count=more) if more > 0 else shown
