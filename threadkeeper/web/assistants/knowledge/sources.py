"""The page of one data source: its title, its file, what was trained of it, and its deletion."""

from pathlib import PurePath

from fastapi import APIRouter, HTTPException, Response

from datalayer import SYSTEM, BlobNotFound, DataSource, acting_as
from datalayer.blobs.headers import BYTES, content_disposition
from datalayer.records.knowledge import FETCHED_KINDS
from threadkeeper.knowledge import source_acts
from threadkeeper.knowledge.loading import LoadRefused
from threadkeeper.web.assistants.knowledge.desk import AssistantDesk, Desk, title_of, with_ending
from threadkeeper.web.assistants.knowledge.files import UPLOADED_KINDS, FilesForm
from threadkeeper.web.assistants.knowledge.states import source_row
from threadkeeper.web.pages.downloads import StoredFile
from threadkeeper.web.pages.failures import InvalidField, InvalidInput, PageRoute
from threadkeeper.web.pages.forms import Form, page_of_form, redirect_to

_LONGEST_TITLE = 200
# Whatever the file contains, no browser runs it as a page of this origin.
_SAFE = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
}

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/assistants/{slug}/knowledge/sources/{source_id}")
async def read_source(desk: Desk, source_id: str) -> Response:
    return await _page(desk, await desk.source(source_id))


@router.get("/assistants/{slug}/knowledge/sources/{source_id}/file")
async def download_source(desk: Desk, source_id: str) -> Response:
    source = await desk.source(source_id)
    try:
        if source.object_key is None:
            raise BlobNotFound("the data source has no file")
        blob = await desk.layer.blobs.open(source.object_key)
    except BlobNotFound:
        raise InvalidInput("knowledge_file_gone") from None
    name = source.title if PurePath(source.title).suffix or source.kind != "pairs" else f"{source.title}.csv"
    headers = {"Content-Disposition": content_disposition(name, BYTES), **_SAFE}
    return StoredFile(blob, media_type=BYTES, headers=headers)


@router.post(
    "/assistants/{slug}/knowledge/sources/{source_id}/rename",
    dependencies=[page_of_form("/assistants/{slug}/knowledge/sources/{source_id}")],
)
async def rename_source(form: Form, desk: Desk, source_id: str) -> Response:
    source = await desk.source(source_id)
    title = form.one("title", longest=_LONGEST_TITLE).strip()
    if not title:
        raise InvalidField("title", "knowledge_no_title")
    # The ending of a file decides between formats of text.
    title = with_ending(title, source.title) if source.kind in ("file", "datasheet") else title
    await source_acts.change_source(desk.layer, desk.slug, source.id, title=title, started_by=desk.person.id)
    return redirect_to(f"{desk.here}/sources/{source.id}?done=renamed")


@router.post(
    "/assistants/{slug}/knowledge/sources/{source_id}/replace",
    dependencies=[page_of_form("/assistants/{slug}/knowledge/sources/{source_id}")],
)
async def replace_source(form: FilesForm, desk: Desk, source_id: str) -> Response:
    source = await desk.source(source_id)
    if source.kind not in UPLOADED_KINDS:
        raise HTTPException(404)
    if len(form.files) != 1:
        raise InvalidField("file", "knowledge_no_file")
    (file,) = form.files
    name = title_of(file.filename or "")
    try:
        if (file.size or 0) > desk.limits.megabytes * 1024 * 1024:
            raise LoadRefused("too_large")
        change = await source_acts.replace_file(
            *(desk.layer, desk.slug, source.id, await file.read(), desk.limits),
            name=name if source.kind != "pairs" else None,
            replaces=form.fields.one("based") or None,
            started_by=desk.person.id,
        )
    except LoadRefused as refused:
        own = f"{desk.here}/sources/{source.id}"
        return await _page(desk, source, desk.refused(refused, name), status=400, page_address=own)
    return redirect_to(f"{desk.here}/sources/{source.id}?done={change.done}")


@router.post("/assistants/{slug}/knowledge/sources/{source_id}/delete")
async def delete_source(_form: Form, desk: Desk, source_id: str) -> Response:
    source = await desk.source(source_id)
    await source_acts.remove_source(desk.layer, desk.slug, source.id, started_by=desk.person.id)
    return redirect_to(f"{desk.here}#sources")


async def _page(
    desk: AssistantDesk, source: DataSource, problem: str = "", *, status: int = 200, page_address: str = ""
) -> Response:
    with acting_as(SYSTEM):
        current = await desk.layer.current_training(desk.slug)
        listed = await desk.layer.listed_source(desk.slug, source.id)
    if listed is None:
        raise HTTPException(404)
    source = listed.source
    done = desk.request.query_params.get("done", "")
    values = {
        "source": source,
        "row": source_row(listed, desk.limits, desk.say.language),
        "current": current,
        "problem": problem,
        "uploaded": UPLOADED_KINDS,
        "has_address": source.kind in FETCHED_KINDS,
        "origins": desk.places.origins,
        "done": done if done in ("renamed", "replaced", "unchanged", "columns", "address") else "",
    }
    return desk.page("source.html", values, status, page_address)
