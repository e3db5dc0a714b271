"""The forms for data sources with an address: web pages and HTTP APIs."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, HTTPException, Response

from datalayer.records.knowledge import FETCHED_KINDS
from threadkeeper.knowledge.addresses import put_address
from threadkeeper.knowledge.fetching.base import FetchFailed
from threadkeeper.knowledge.wording import say_fetch_failed
from threadkeeper.web.assistants.knowledge.desk import AssistantDesk, Desk
from threadkeeper.web.pages.failures import InvalidField, InvalidInput, PageRoute
from threadkeeper.web.pages.forms import Form, Posted, page_of_form, redirect_to

API_FIELDS = ("records", "columns", "title_field", "record_id", "suggestion", "next", "page")
"""The fields of the form that belong to an API, in their order."""
_LONGEST = 2_000
_LONGEST_FIELD = 300

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.post("/assistants/{slug}/knowledge/addresses", dependencies=[page_of_form("/assistants/{slug}/knowledge")])
async def add_address(form: Form, desk: Desk) -> Response:
    kind = form.one("kind")
    if kind not in FETCHED_KINDS:
        raise InvalidInput("knowledge_bad_kind")
    await _put(desk, kind, form, title=form.one("title", longest=200, shown_at="address-title"))
    return redirect_to(f"{desk.here}?stored=1#sources")


@router.post(
    "/assistants/{slug}/knowledge/sources/{source_id}/address",
    dependencies=[page_of_form("/assistants/{slug}/knowledge/sources/{source_id}")],
)
async def change_address(form: Form, desk: Desk, source_id: str) -> Response:
    source = await desk.source(source_id)
    if source.kind not in FETCHED_KINDS:
        raise HTTPException(404)
    await _put(desk, source.kind, form, source_id=source.id)
    return redirect_to(f"{desk.here}/sources/{source.id}?done=address")


async def _put(desk: AssistantDesk, kind: Any, form: Posted, **named: Any) -> None:
    try:
        await put_address(
            desk.layer, desk.slug, kind, _options(kind, form), desk.places, started_by=desk.person.id, **named
        )
    except FetchFailed as failed:
        if "@" in form.one("address", longest=_LONGEST):
            # It may have a password, which is not shown again.
            desk.request.state.typed.pop("address", None)
        sentence = say_fetch_failed(failed.kind, failed.values, desk.say.language)
        raise InvalidField("address-address", "knowledge_bad_address", reason=sentence) from None


def _options(kind: str, form: Posted) -> Mapping[str, Any]:
    def text(name: str, longest: int) -> str:
        return form.one(name, longest=longest, shown_at=f"address-{name}").strip()

    options: dict[str, Any] = {name: text(name, _LONGEST) for name in ("address", "header")}
    if kind == "api":
        fields = {name: text(name, _LONGEST_FIELD) for name in API_FIELDS}
        options["title"] = fields.pop("title_field")
        options |= fields
        options["columns"] = [one.strip() for one in fields["columns"].split(",") if one.strip()]
    return options
