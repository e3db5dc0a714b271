"""The page at `/me/import`: a user uploads the export of another chat, sees what is in it, and imports it."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from starlette.datastructures import UploadFile

from datalayer import Job
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import clean_time, utc_now
from threadkeeper.importing.names import NAMES
from threadkeeper.importing.reasons import Reason
from threadkeeper.jobs.imports import GONE, IMPORT, KEPT_SECONDS, REASON
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.me.uploaded_exports import (
    LARGEST_BYTES,
    LARGEST_GB,
    ImportRuns,
    UploadGone,
    import_looked_into,
    look_into,
    newest_import,
)
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidField, InvalidInput, PageRoute, TooLarge
from threadkeeper.web.pages.forms import Form, page_of_form, redirect_to
from threadkeeper.web.pages.uploads import Upload, uploaded
from threadkeeper.web.pages.zone import Zone

ADDRESS = "/me/import"
_CHUNK_BYTES = 1024 * 1024
COUNTED = ("messages", "versions", "thoughts", "tools", "files", "votes", "archived", "pinned")
"""What the report counts, in the order of the page."""

router = APIRouter(route_class=PageRoute, include_in_schema=False)


async def _uploaded(request: Request, _person: LoggedIn) -> AsyncIterator[Upload]:
    too_large = TooLarge("import_too_large", most=LARGEST_GB)
    async with uploaded(request, too_large, most_files=1, most_bytes=LARGEST_BYTES) as form:
        yield form


ExportForm = Annotated[Upload, Depends(_uploaded)]


@router.get(ADDRESS)
async def read_import(*, request: Request, person: LoggedIn, layer: Layer, pages: Pages, zone: Zone) -> Response:
    job = await newest_import(layer)
    ends = None if job is None else _due(job)
    values = {
        "job": job,
        "is_check": job is not None and bool(job.arguments["dry_run"]),
        "is_gone": job is not None and job.error == GONE,
        "is_kept": ends is None or ends > utc_now(),
        "ends": ends,
        "counted": COUNTED,
        "source": NAMES.get(job.result["source"], "") if job is not None and job.state == "done" else "",
        "reason_of": Reason.of_json,
        "failure": (job.result or {}).get(REASON) if job is not None and job.state == "failed" else None,
        "largest": LARGEST_GB,
    }
    return pages.page(request, "me/import.html", values, person=person, zone=zone)


@router.post(ADDRESS, dependencies=[page_of_form(ADDRESS)])
async def upload_export(person: LoggedIn, form: ExportForm, layer: Layer) -> Response:
    if not form.files:
        raise InvalidField("export", "import_no_file")
    (file,) = form.files
    name, by_day = file.filename or "", form.fields.has("by_day")
    try:
        await look_into(layer, person.id, _chunks(file), name=name, by_day=by_day)
    except ImportRuns:
        raise InvalidInput("import_is_running") from None
    return redirect_to(ADDRESS)


@router.post(ADDRESS + "/{job_id}/start")
async def start_import(person: LoggedIn, _form: Form, layer: Layer, job_id: str) -> Response:
    job = await _own(layer, job_id)
    if job.state != "done" or not job.arguments["dry_run"]:
        raise HTTPException(404)
    try:
        await import_looked_into(layer, person.id, job)
    except UploadGone:
        raise InvalidInput("import_gone") from None
    return redirect_to(ADDRESS)


@router.post(ADDRESS + "/{job_id}/cancel")
async def cancel_import(_person: LoggedIn, _form: Form, layer: Layer, job_id: str) -> Response:
    await layer.cancel_job((await _own(layer, job_id)).id)
    return redirect_to(ADDRESS)


def _due(job: Job) -> str | None:
    """When the upload of the job is deleted."""
    kept = datetime.fromisoformat(job.created_at) + timedelta(seconds=KEPT_SECONDS)
    return job.arguments.get("until") or clean_time(kept, "end")


async def _own(layer: ChainlitLayer, job_id: str) -> Job:
    """An import of the acting user."""
    job = await layer.get_job(job_id)
    if job is None or job.kind != IMPORT:
        raise HTTPException(404)
    return job


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(_CHUNK_BYTES):
        yield chunk
