"""Imports of exports of other chats, as at `/me/import`: upload one, see what is in it, and import it."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from datalayer import Job
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.jobs.imports import GONE, IMPORT
from threadkeeper.web.api.access import AccountCaller
from threadkeeper.web.api.file_bodies import BYTES, demand_no_form
from threadkeeper.web.api.once import IdempotencyKey, begin_once, digest_of, note_done, once_with
from threadkeeper.web.api.paging import Cursor, Limit
from threadkeeper.web.api.problems import Problem, not_found
from threadkeeper.web.api.route import ERRORS, PREFIX, ApiRoute, location_of
from threadkeeper.web.me.uploaded_exports import LARGEST_BYTES, ImportRuns, UploadGone, import_looked_into, look_into
from threadkeeper.web.pages.dependencies import Layer


class UploadRoute(ApiRoute):
    """A route whose body is an export of another chat."""

    def most_bytes(self, _request: Request) -> int:
        return LARGEST_BYTES


router = APIRouter(prefix=PREFIX, route_class=ApiRoute)
uploads = APIRouter(prefix=PREFIX, route_class=UploadRoute)


class ShownImport(BaseModel):
    """A look into an export (`is_check`), or its import. `report` says what was found, or stored, when it is done."""

    id: str
    is_check: bool
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    name: str = Field(description="Of the uploaded file.")
    created_at: str
    ended_at: str | None
    done: int = Field(description="Conversations so far.")
    total: int | None
    report: dict[str, Any] | None
    error: str | None


class ImportPage(BaseModel):
    data: list[ShownImport]
    next_cursor: str | None


@router.get("/me/imports")
async def list_imports(_caller: AccountCaller, layer: Layer, cursor: Cursor = None, limit: Limit = 20) -> ImportPage:
    """The looks into exports, and the imports, newest first."""
    found = await layer.list_jobs(kinds=[IMPORT], cursor=cursor, limit=limit)
    return ImportPage(data=[_shown(job) for job in found.jobs], next_cursor=found.next_cursor)


@uploads.post(
    "/me/imports",
    status_code=202,
    openapi_extra={"requestBody": {"content": BYTES, "required": True}, ERRORS: [409]},
)
async def upload_export(
    *,
    request: Request,
    caller: AccountCaller,
    layer: Layer,
    response: Response,
    name: Annotated[str, Query(min_length=1, max_length=300, description="The name of the file.")],
    by_day: Annotated[bool, Query(description="One thread a day, for an export without conversations.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> ShownImport:
    """Upload an export, which is the body of the request, and look what is in it, in the background.

    A user has one upload: it takes the place of an earlier one, and is deleted after a day.
    """
    demand_no_form(request)
    digest = digest_of(request)

    async def content() -> AsyncIterator[bytes]:
        async for chunk in request.stream():
            digest.update(chunk)
            yield chunk

    async def is_new() -> None:
        await begin_once(request, caller, idempotency_key, digest.hexdigest())

    try:
        asks = None if idempotency_key is None else is_new
        job = await look_into(layer, caller.user_id, content(), name=name, by_day=by_day, is_new=asks)
    except ImportRuns:
        raise _runs() from None
    note_done(request)
    response.headers["Location"] = location_of(f"/me/imports/{job.id}")
    return _shown(job)


@router.get("/me/imports/{import_id}")
async def read_import(_caller: AccountCaller, layer: Layer, import_id: str) -> ShownImport:
    """How far a look or an import is, and what it found."""
    return _shown(await _import(layer, import_id))


@router.post("/me/imports/{import_id}/start", status_code=202, dependencies=[once_with("account", from_pages=False)])
async def start_import(
    request: Request, caller: AccountCaller, layer: Layer, import_id: str, response: Response
) -> ShownImport:
    """Import what was looked into. What is imported already is passed over."""
    job = await _import(layer, import_id)
    if job.state != "done" or not job.arguments["dry_run"]:
        raise Problem(409, "conflict", "Only a look that is done can be followed by the import.")
    try:
        begun = await import_looked_into(layer, caller.user_id, job)
    except UploadGone:
        sentence = "The upload is deleted, or another one took its place: upload it again."
        raise Problem(409, "conflict", sentence) from None
    note_done(request)
    response.headers["Location"] = location_of(f"/me/imports/{begun.id}")
    return _shown(begun)


@router.post("/me/imports/{import_id}/cancel", status_code=202, dependencies=[once_with("account", from_pages=False)])
async def cancel_import(_caller: AccountCaller, layer: Layer, import_id: str) -> ShownImport:
    """Cancel a look or an import. What is imported stays."""
    return _shown(await layer.cancel_job((await _import(layer, import_id)).id))


def _runs() -> Problem:
    return Problem(409, "in-progress", "An import of the user runs. Wait for its end, or cancel it.")


async def _import(layer: ChainlitLayer, job_id: str) -> Job:
    """An import of the acting user."""
    job = await layer.get_job(job_id)
    if job is None or job.kind != IMPORT:
        raise not_found("import")
    return job


def _shown(job: Job) -> ShownImport:
    return ShownImport(
        id=job.id,
        is_check=bool(job.arguments["dry_run"]),
        state=job.state,
        name=job.arguments["name"],
        created_at=job.created_at,
        ended_at=job.ended_at,
        done=job.done,
        total=job.total,
        report=job.result if job.state == "done" else None,
        error="The upload was deleted." if job.error == GONE else job.error,
    )
