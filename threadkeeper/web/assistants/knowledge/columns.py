"""The page on which the columns of a datasheet are chosen, from those that its file has."""

from collections.abc import Sequence

from fastapi import APIRouter, HTTPException, Response

from datalayer import DataSource
from threadkeeper.knowledge.columns import Sheet, UnknownColumn, options_of, sheets_of
from threadkeeper.knowledge.loading import LoadRefused
from threadkeeper.knowledge.source_acts import change_source
from threadkeeper.web.assistants.knowledge.desk import AssistantDesk, Desk
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.forms import Form, redirect_to

_LONGEST_NAME = 1_000
_MOST_COLUMNS = 300
_NAMES = ("record_id", "suggestion", "sheet")

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/assistants/{slug}/knowledge/sources/{source_id}/columns")
async def read_columns(desk: Desk, source_id: str) -> Response:
    source, sheets = await _table(desk, source_id)
    wanted = desk.request.query_params.get("sheet", source.options.get("sheet") or "")
    sheet = next((one for one in sheets if one.name == wanted), sheets[0])
    # Options of another sheet name columns that this one may not have.
    is_chosen = sheet.name == (source.options.get("sheet") or sheets[0].name)
    values = {
        "source": source,
        "sheets": sheets,
        "sheet": sheet,
        "chosen": source.options.get("columns") or () if is_chosen else (),
        "record_id": source.options.get("record_id") if is_chosen else None,
        "suggestion": source.options.get("suggestion") if is_chosen else None,
    }
    return desk.page("columns.html", values)


@router.post("/assistants/{slug}/knowledge/sources/{source_id}/columns")
async def choose_columns(form: Form, desk: Desk, source_id: str) -> Response:
    source, sheets = await _table(desk, source_id)
    given = form.all("columns", longest=_LONGEST_NAME, most=_MOST_COLUMNS)
    record_id, suggestion, sheet = (form.one(name, longest=_LONGEST_NAME) for name in _NAMES)
    try:
        options = options_of(sheets, columns=given, record_id=record_id, suggestion=suggestion, sheet=sheet)
    except UnknownColumn as unknown:
        sentence = "knowledge_no_sheet" if unknown.field == "sheet" else "knowledge_no_column"
        raise InvalidInput(sentence, name=unknown.name[:100]) from None
    await change_source(desk.layer, desk.slug, source.id, options=options, started_by=desk.person.id)
    return redirect_to(f"{desk.here}/sources/{source.id}?done=columns")


async def _table(desk: AssistantDesk, source_id: str) -> tuple[DataSource, Sequence[Sheet]]:
    """A datasheet with its sheets, of which there is one at least.

    Raises:
        InvalidInput: its file cannot be read any more.
    """
    source = await desk.source(source_id)
    if source.kind != "datasheet":
        raise HTTPException(404)
    try:
        return source, await sheets_of(source.title, await desk.content(source), desk.limits)
    except LoadRefused as refused:
        raise InvalidInput("knowledge_unreadable", reason=desk.refused(refused, source.title)) from None
