"""The audit, for admins: who opened, copied or exported which thread, and who changed which account."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from datalayer import InvalidRecord
from datalayer.cleaning import known_id
from threadkeeper.web.api.access import AdminCaller
from threadkeeper.web.api.paging import Cursor, Limit
from threadkeeper.web.api.problems import invalid
from threadkeeper.web.api.route import PREFIX, ApiRoute
from threadkeeper.web.pages.dependencies import Layer

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)

_LONGEST = 300


class ShownEntry(BaseModel):
    id: int
    at: str
    action: str
    actor: str | None = Field(description="Null for the server itself, and for commands.")
    thread_id: str | None
    owner_id: str | None = Field(description="The user whose thread, key or account it is.")
    purpose: str | None
    details: dict[str, Any] | None


class EntryPage(BaseModel):
    data: list[ShownEntry]
    next_cursor: str | None


@router.get("/audit")
async def list_audit(
    *,
    _caller: AdminCaller,
    layer: Layer,
    actor: Annotated[str | None, Query(max_length=_LONGEST, description="The identifier of a user.")] = None,
    thread_id: Annotated[str | None, Query(max_length=_LONGEST)] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> EntryPage:
    """The audit, newest first."""
    if thread_id is not None and known_id(thread_id) is None:
        raise invalid("query.thread_id", "it is no id")
    try:
        found = await layer.list_audit(actor=actor, thread_id=thread_id, cursor=cursor, limit=limit)
    except InvalidRecord:
        raise invalid("query.cursor", "it is not the `next_cursor` of a page") from None
    same = ("id", "at", "action", "actor", "thread_id", "owner_id", "purpose", "details")
    return EntryPage(
        data=[ShownEntry(**{name: getattr(one, name) for name in same}) for one in found.entries],
        next_cursor=found.next_cursor,
    )
