"""The page at `/me/import`: a user uploads the export of another chat, sees what is in it, and imports it."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from starlette.datastructures import UploadFile

from datalayer import BlobNotFound, Job
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import clean_text, clean_time, utc_in, utc_now
from threadkeeper.jobs.imports import GONE, IMPORT, KEPT_SECONDS
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidInput, PageRoute, TooLarge
from threadkeeper.web.pages.forms import Form, redirect_to
from threadkeeper.web.pages.uploads import Upload, uploaded
from threadkeeper.web.pages.zone import Zone

ADDRESS = "/me/import"
LARGEST_GB = 4
_LARGEST_BYTES = LARGEST_GB * 1024**3
_LONGEST_NAME = 120
_CHUNK_BYTES = 1024 * 1024
COUNTED = ("messages", "versions", "thoughts", "tools", "files", "votes", "archived", "pinned")
"""What the report counts, in the order of the page."""
NAMES = {
    "chatgpt": "ChatGPT",
    "claude": "Claude",
    "open-webui": "Open WebUI",
    "librechat": "LibreChat",
    "deepseek": "DeepSeek",
    "le-chat": "Le Chat",
    "gemini": "Gemini",
    "threadkeeper": "Threadkeeper, Chainlit",
}
"""The formats as their makers write them."""

router = APIRouter(route_class=PageRoute, include_in_schema=False)


async def _uploaded(request: Request, _person: LoggedIn) -> AsyncIterator[Upload]:
    too_large = TooLarge("import_too_large", most=LARGEST_GB)
    async with uploaded(request, too_large, most_files=1, most_bytes=_LARGEST_BYTES) as form:
        yield form


ExportForm = Annotated[Upload, Depends(_uploaded)]


@router.get(ADDRESS)
async def read_import(*, request: Request, person: LoggedIn, layer: Layer, pages: Pages, zone: Zone) -> Response:
    job = await _newest(layer)
    ends = None if job is None else _due(job)
    values = {
        "job": job,
        "is_check": job is not None and bool(job.arguments["dry_run"]),
        "is_gone": job is not None and job.error == GONE,
        "is_kept": ends is None or ends > utc_now(),
        "ends": ends,
        "counted": COUNTED,
        "source": NAMES.get(job.result["source"], "") if job is not None and job.state == "done" else "",
        "largest": LARGEST_GB,
    }
    return pages.page(request, "me/import.html", values, person=person, zone=zone)


@router.post(ADDRESS)
async def upload_export(person: LoggedIn, form: ExportForm, layer: Layer) -> Response:
    if not form.files:
        raise InvalidInput("import_no_file")
    before = await _newest(layer)
    if before is not None and not before.is_finished:
        raise InvalidInput("import_is_running")
    (file,) = form.files
    until = utc_in(KEPT_SECONDS)
    key = await layer.keep_import(_chunks(file), KEPT_SECONDS)
    name = clean_text(file.filename or "")[:_LONGEST_NAME]
    by_day = form.fields.has("by_day")
    arguments = {"key": key, "name": name, "until": until, "dry_run": True, "by_day": by_day}
    job = await _start(layer, person.id, arguments)
    if job.arguments["key"] != key:
        # Another upload of this user was faster.
        await layer.file_deleter.delete([key], None)
        raise InvalidInput("import_is_running")
    if before is not None:
        # A user has one upload.
        await layer.file_deleter.delete([before.arguments["key"]], None)
    return redirect_to(ADDRESS)


@router.post(ADDRESS + "/{job_id}/start")
async def start_import(person: LoggedIn, _form: Form, layer: Layer, job_id: str) -> Response:
    job = await _own(layer, job_id)
    if job.state != "done" or not job.arguments["dry_run"]:
        raise HTTPException(404)
    newest, key = await _newest(layer), job.arguments["key"]
    if newest is not None and newest.id != job.id and newest.arguments["key"] == key:
        # The button was pressed twice.
        return redirect_to(ADDRESS)
    if newest is None or newest.id != job.id or not await _is_stored(layer, key):
        raise InvalidInput("import_gone")
    total = job.result["conversations"] + job.result["failed"]
    await _start(layer, person.id, {**job.arguments, "dry_run": False, "total": total})
    return redirect_to(ADDRESS)


@router.post(ADDRESS + "/{job_id}/cancel")
async def cancel_import(_person: LoggedIn, _form: Form, layer: Layer, job_id: str) -> Response:
    await layer.cancel_job((await _own(layer, job_id)).id)
    return redirect_to(ADDRESS)


async def _start(layer: ChainlitLayer, user_id: str, arguments: Mapping[str, Any]) -> Job:
    # The key of the user: one at a time.
    return await layer.start_job(IMPORT, arguments, key=user_id)


def _due(job: Job) -> str | None:
    """When the upload of the job is deleted."""
    kept = datetime.fromisoformat(job.created_at) + timedelta(seconds=KEPT_SECONDS)
    return job.arguments.get("until") or clean_time(kept, "end")


async def _is_stored(layer: ChainlitLayer, key: str) -> bool:
    try:
        async with await layer.blobs.open(key, 0, 1):
            return True
    except BlobNotFound:
        return False


async def _newest(layer: ChainlitLayer) -> Job | None:
    """The newest import of the acting user, or look into an export."""
    return next(iter((await layer.list_jobs(kinds=[IMPORT], limit=1)).jobs), None)


async def _own(layer: ChainlitLayer, job_id: str) -> Job:
    """An import of the acting user."""
    job = await layer.get_job(job_id)
    if job is None or job.kind != IMPORT:
        raise HTTPException(404)
    return job


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(_CHUNK_BYTES):
        yield chunk
