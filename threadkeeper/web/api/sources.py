"""What an assistant knows from: its data sources, for those who may edit it."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from datalayer import SYSTEM, BlobNotFound, DataSource, ListedSource, acting_as
from datalayer.blobs.headers import content_disposition
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.knowledge import source_acts
from threadkeeper.knowledge.addresses import put_address
from threadkeeper.knowledge.columns import UnknownColumn, options_of, sheets_of
from threadkeeper.knowledge.fetching.base import FetchFailed
from threadkeeper.knowledge.fetching.places import Places
from threadkeeper.knowledge.loading import LoadLimits, LoadRefused
from threadkeeper.knowledge.pairs import EditedPair, merged, written
from threadkeeper.knowledge.wording import say_fetch_failed, say_refused, say_taken
from threadkeeper.web.api.access import AssistantCaller, Caller
from threadkeeper.web.api.assistant_shapes import (
    ENGLISH,
    ChangedSource,
    ChangedSourceFields,
    GivenColumns,
    NewPairs,
    NewSource,
    Source,
    SourcePage,
    source_of,
)
from threadkeeper.web.api.assistants import own_assistant
from threadkeeper.web.api.file_bodies import BYTES, demand_no_form
from threadkeeper.web.api.once import note_done, once_with
from threadkeeper.web.api.paging import Cursor, Limit
from threadkeeper.web.api.problems import Problem, invalid, not_found
from threadkeeper.web.api.route import PREFIX, ApiRoute, location_of
from threadkeeper.web.assistants.knowledge.desk import title_of, with_ending
from threadkeeper.web.assistants.knowledge.states import source_row
from threadkeeper.web.pages.dependencies import Layer
from threadkeeper.web.pages.downloads import StoredFile

_MEGABYTE = 1024 * 1024
_TWO: dict[int | str, dict[str, Any]] = {
    200: {"model": ChangedSource, "description": "It was there: replaced, or unchanged."}
}


class FileRoute(ApiRoute):
    """A route whose body is a file of a data source."""

    def most_bytes(self, request: Request) -> int:
        limits: LoadLimits = request.state.knowledge_limits
        return int(limits.megabytes * _MEGABYTE)


router = APIRouter(prefix=PREFIX, route_class=ApiRoute)
files = APIRouter(prefix=PREFIX, route_class=FileRoute)


@router.get("/assistants/{slug}/sources")
async def list_sources(
    *, request: Request, _caller: AssistantCaller, layer: Layer, slug: str, cursor: Cursor = None, limit: Limit = 20
) -> SourcePage:
    """The data sources of an assistant, newest first, and what the training that answers took of each."""
    await own_assistant(layer, slug)
    with acting_as(SYSTEM):
        page = await layer.page_of_sources(slug, cursor=cursor, limit=limit)
    return SourcePage(data=[_shown(request, one) for one in page.sources], next_cursor=page.next_cursor)


@router.post("/assistants/{slug}/sources", status_code=201, responses=_TWO, dependencies=[once_with("assistants")])
async def add_source(
    *, request: Request, caller: AssistantCaller, layer: Layer, slug: str, given: NewSource, response: Response
) -> ChangedSource:
    """Add questions and answers, a web page or an HTTP API; one of the same title or address is replaced.

    A file is sent to `…/sources/files`. What is added is known after a training.
    """
    await own_assistant(layer, slug)
    if isinstance(given, NewPairs):
        new = source_acts.NewSource("pairs", _title(given.title, "body.title"), _pairs(request, given))
        change = await _put_file(request, layer, slug, new, caller)
    else:
        options = {"address": given.address, "header": given.header}
        if given.kind == "api":
            options |= given.options.model_dump()
        places: Places = request.state.knowledge_places
        try:
            change = await put_address(
                layer, slug, given.kind, options, places, title=given.title, started_by=caller.user_id
            )
        except FetchFailed as failed:
            raise invalid("body.address", say_fetch_failed(failed.kind, failed.values, ENGLISH)) from None
    return await _changed(request, layer, slug, change, response)


@files.post(
    "/assistants/{slug}/sources/files",
    status_code=201,
    responses=_TWO,
    dependencies=[once_with("assistants")],
    openapi_extra={"requestBody": {"content": BYTES, "required": True}},
)
async def add_file(
    *,
    request: Request,
    caller: AssistantCaller,
    layer: Layer,
    slug: str,
    response: Response,
    title: Annotated[
        str,
        Query(min_length=1, max_length=300, description="The name of the file; its ending says the format of texts."),
    ],
    kind: Annotated[
        Literal["file", "pairs", "datasheet"], Query(description="A datasheet has a document in each row.")
    ] = "file",
) -> ChangedSource:
    """Add a file, which is the body of the request; one of the same kind and title is replaced."""
    await own_assistant(layer, slug)
    demand_no_form(request)
    new = source_acts.NewSource(kind, _title(title, "query.title"), await request.body())
    change = await _put_file(request, layer, slug, new, caller)
    return await _changed(request, layer, slug, change, response)


@router.get("/assistants/{slug}/sources/{source_id}")
async def read_source(request: Request, _caller: AssistantCaller, layer: Layer, slug: str, source_id: str) -> Source:
    """A data source."""
    await own_assistant(layer, slug)
    with acting_as(SYSTEM):
        found = await layer.listed_source(slug, source_id)
    if found is None:
        raise not_found("data source")
    return _shown(request, found)


@router.get(
    "/assistants/{slug}/sources/{source_id}/content",
    response_class=Response,
    responses={200: {"content": BYTES}},
)
async def download_source(_caller: AssistantCaller, layer: Layer, slug: str, source_id: str) -> Response:
    """The file of a data source; of questions and answers, a CSV file."""
    source = await _source(layer, slug, source_id)
    try:
        if source.object_key is None:
            raise BlobNotFound("the data source has no file")
        blob = await layer.blobs.open(source.object_key)
    except BlobNotFound:
        raise not_found("file") from None
    headers = {
        "Content-Disposition": content_disposition(source.title, "application/octet-stream"),
        "X-Content-Type-Options": "nosniff",
    }
    return StoredFile(blob, media_type="application/octet-stream", headers=headers)


@router.patch("/assistants/{slug}/sources/{source_id}")
async def change_source(
    *, request: Request, caller: AssistantCaller, layer: Layer, slug: str, source_id: str, given: ChangedSourceFields
) -> Source:
    """Rename a data source, or choose the columns of a datasheet. Its file is replaced by a new one of its title."""
    source = await _source(layer, slug, source_id)
    title, options = None, None
    if given.title is not None:
        title = _title(given.title, "body.title")
        # The ending of a file decides between formats of text.
        title = with_ending(title, source.title) if source.kind in ("file", "datasheet") else title
    if given.columns is not None:
        if source.kind != "datasheet":
            raise invalid("body.columns", "only a datasheet has columns")
        options = await _columns(request, layer, source, given.columns)
    await source_acts.change_source(layer, slug, source.id, title=title, options=options, started_by=caller.user_id)
    return await read_source(request, caller, layer, slug, source_id)


@router.delete("/assistants/{slug}/sources/{source_id}", status_code=204)
async def delete_source(caller: AssistantCaller, layer: Layer, slug: str, source_id: str) -> None:
    """Delete a data source. Nothing of it is found any more, at once."""
    await own_assistant(layer, slug)
    await source_acts.remove_source(layer, slug, source_id, started_by=caller.user_id)


async def _source(layer: ChainlitLayer, slug: str, source_id: str) -> DataSource:
    """A data source of an assistant that the caller may edit."""
    await own_assistant(layer, slug)
    with acting_as(SYSTEM):
        found = await layer.get_source(source_id)
    if found is None or found.assistant_id != slug:
        raise not_found("data source")
    return found


async def _columns(request: Request, layer: ChainlitLayer, source: DataSource, given: GivenColumns) -> dict[str, Any]:
    limits: LoadLimits = request.state.knowledge_limits
    with acting_as(SYSTEM):
        content = (await layer.read_source(source.id))[1]
    try:
        sheets = await sheets_of(source.title, content, limits)
        return options_of(sheets, **given.model_dump())
    except UnknownColumn as unknown:
        raise invalid(f"body.columns.{unknown.field}", f"the file has no {unknown.name[:100]!r}") from None
    except LoadRefused as refused:
        raise _refused(refused, source.title, limits) from None


async def _put_file(
    request: Request, layer: ChainlitLayer, slug: str, new: source_acts.NewSource, caller: Caller
) -> source_acts.SourceChange:
    limits: LoadLimits = request.state.knowledge_limits
    try:
        return await source_acts.put_source(layer, slug, new, limits, started_by=caller.user_id)
    except LoadRefused as refused:
        raise _refused(refused, new.title, limits) from None


def _refused(refused: LoadRefused, title: str, limits: LoadLimits) -> Problem:
    sentence = say_refused(refused.refusal, title, limits, ENGLISH, refused.missing)
    return Problem(422, f"file-{refused.refusal.replace('_', '-')}", sentence, [("body", sentence)])


def _title(given: str, field: str) -> str:
    title = title_of(given)
    if not title:
        raise invalid(field, "it has no text")
    return title


def _pairs(request: Request, given: NewPairs) -> bytes:
    limits: LoadLimits = request.state.knowledge_limits
    most = limits.options.max_rows
    if len(given.pairs) > most:
        raise invalid("body.pairs", f"there are more than {most:,}")
    done = merged([], [EditedPair("", one.question, one.answer) for one in given.pairs])
    if done.problems:
        at, kind = min(done.problems.items())
        sentence = "its question occurs twice" if kind == "repeated" else "it needs a question and an answer"
        raise invalid(f"body.pairs.{at}", sentence)
    return written(done.pairs)


async def _changed(
    request: Request, layer: ChainlitLayer, slug: str, change: source_acts.SourceChange, response: Response
) -> ChangedSource:
    note_done(request)
    with acting_as(SYSTEM):
        listed = await layer.listed_source(slug, change.source.id)
    # It can be deleted as soon as it is stored.
    shown = _shown(request, listed or ListedSource(change.source))
    if change.done != "added":
        response.status_code = 200
    response.headers["Location"] = location_of(f"/assistants/{slug}/sources/{shown.id}")
    return ChangedSource(
        source=shown,
        done=change.done,
        said=say_taken(change.taken, shown.title, ENGLISH) if change.taken is not None else [],
        training_id=change.training.id if change.training else None,
    )


def _shown(request: Request, listed: ListedSource) -> Source:
    limits: LoadLimits = request.state.knowledge_limits
    return source_of(source_row(listed, limits, ENGLISH))
