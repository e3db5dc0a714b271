"""Replacements for some of Chainlit's routes; most of them call Chainlit's code."""

import asyncio
import functools
import gzip
import json
import mimetypes
import shutil
import time
import uuid
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import chainlit.server
from chainlit.auth import get_current_user, reuseable_oauth
from chainlit.config import config
from chainlit.data import get_data_layer
from chainlit.session import WebsocketSession
from chainlit.types import UpdateFeedbackRequest
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.datastructures import UploadFile

from threadkeeper.language.catalogue import CHAT, PAGES
from threadkeeper.language.chosen import chosen_language
from threadkeeper.language.negotiation import known_language, language_for
from threadkeeper.settings.root_path import root_path
from threadkeeper.web.auth.gate import person_at
from threadkeeper.web.auth.roles import is_admin, may_review
from threadkeeper.web.etags import is_known

CurrentUser = Annotated[Any, Depends(get_current_user)]
PageLanguage = Annotated[str | None, Query(pattern=chainlit.server._language_pattern)]

_MEBIBYTE = 1024 * 1024
# The size of a multipart form beside the file: names, types, separators.
_FORM_BYTES = 64 * 1024
# How long an uploaded file waits for its session, and how often it looks.
_SESSION_SECONDS = 10.0
_SESSION_POLL_SECONDS = 0.05
_COMPRESSED = (".css", ".js", ".mjs")
_LINK_WORDS = {
    "/usage": "nav_usage",
    "/me/threads": "nav_threads",
    "/me": "nav_me",
    "/review": "nav_review",
    "/assistants": "nav_assistants",
    "/admin": "nav_admin",
}


def chainlit_router() -> APIRouter:
    """The routes."""
    router = APIRouter()
    router.add_api_route("/user", read_user, include_in_schema=False, response_model=None)
    router.add_api_route("/project/file", upload_file, methods=["POST"], include_in_schema=False, response_model=None)

    router.add_api_route("/project/translations", read_translations, include_in_schema=False, response_model=None)
    router.add_api_route("/project/settings", read_settings, include_in_schema=False, response_model=None)
    router.add_api_route("/assets/{filename:path}", read_page_file, include_in_schema=False, response_model=None)
    router.add_api_route("/feedback", vote, methods=["PUT"], include_in_schema=False, response_model=None)
    return router


async def read_user(request: Request) -> Any:
    """The logged-in user, or 204 for a visitor: a 401 would be an error in the browser's console."""
    token = await reuseable_oauth(request)
    return await get_current_user(token) if token else Response(status_code=204)


async def upload_file(
    request: Request, current_user: CurrentUser, session_id: str, ask_parent_id: str | None = None
) -> Any:
    """Store an uploaded file of a session.

    Chainlit's route reads the whole file into memory before it checks the size, and stores it before it checks the
    user. This one checks first and copies from disk to disk.

    After "New chat", Chainlit's page takes files for its new session at once, but opens the socket that creates this
    session a moment later. So a file that is attached in between waits for its session.
    """
    session = WebsocketSession.get_by_id(session_id) or (await _opened_soon(session_id) if current_user else None)
    if session is None:
        raise HTTPException(404, CHAT.say("attachment_not_connected", request.headers.get("accept-language")))
    if current_user and (session.user is None or session.user.identifier != current_user.identifier):
        raise HTTPException(401, "You are not authorized to upload files for this session")
    spec = session.files_spec.get(ask_parent_id) if ask_parent_id else None
    if spec is None and ask_parent_id:
        raise HTTPException(404, "Parent message not found")
    limits = spec or config.features.spontaneous_file_upload
    most = limits.max_size_mb if limits else None
    if most is not None and int(request.headers.get("content-length", 0)) > most * _MEBIBYTE + _FORM_BYTES:
        raise HTTPException(400, "File size too large")
    async with request.form(max_files=1) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile) or not file.filename or not file.content_type:
            raise HTTPException(400, "The form has no file with a name and a type.")
        if not file.size:
            raise HTTPException(400, "The file is empty.")
        try:
            chainlit.server.validate_file_upload(file, spec=spec)  # type: ignore[arg-type]
        except ValueError:
            raise HTTPException(400, _refusal(file, limits, session.language)) from None
        file_id = str(uuid.uuid4())
        path = session.files_dir / f"{file_id}{mimetypes.guess_extension(file.content_type) or ''}"
        await asyncio.to_thread(_copy, file.file, path)
        session.files[file_id] = {
            "id": file_id,
            "path": path,
            "name": file.filename,
            "type": file.content_type,
            "size": file.size,
        }
    return {"id": file_id}


async def _opened_soon(session_id: str) -> WebsocketSession | None:
    """The session, as soon as its socket is open; None if that takes too long."""
    deadline = time.monotonic() + _SESSION_SECONDS
    session = None
    while session is None and time.monotonic() < deadline:
        await asyncio.sleep(_SESSION_POLL_SECONDS)
        session = WebsocketSession.get_by_id(session_id)
    return session


def _refusal(file: UploadFile, limits: Any, language: str) -> str:
    """The sentence for a file whose type or size is not accepted, with its name."""
    key, kind, most = "attachment_unsupported", file.content_type, limits.max_size_mb
    if most is not None and (file.size or 0) > most * _MEBIBYTE:
        key = "attachment_too_large"
    elif kind == "application/pdf":
        key = "attachment_no_pdf"
    elif (kind or "").startswith("image/") and "image/png" not in (limits.accept or ()):
        key = "attachment_no_picture"
    return CHAT.say(key, language, name=file.filename, megabytes=most)


def _copy(source: BinaryIO, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    source.seek(0)
    with path.open("xb") as target:
        shutil.copyfileobj(source, target, _MEBIBYTE)


async def read_page_file(request: Request, filename: str) -> Response:
    """A file of Chainlit's page.

    Chainlit's route sends it to each visit, also to a browser that has it, and compresses it each time, which takes
    0.3 s of CPU time for the script of the page. Here it is compressed once a process.
    """
    answer: FileResponse = await chainlit.server.serve_asset_file(filename)
    packs = str(answer.path).endswith(_COMPRESSED) and "gzip" in request.headers.get("accept-encoding", "")
    # The name of the folder tells the version of the page, and is the same on all replicas, unlike the time of a file.
    tag = f'"{Path(chainlit.server.build_dir).name}{"-gzip" if packs else ""}"'
    # Another version of the page can have another file of this name, so browsers are to ask whether theirs is right.
    headers = {"Cache-Control": "no-cache", "ETag": tag, "Vary": "Accept-Encoding"}
    if is_known(request.headers, tag):
        return Response(status_code=304, headers=headers)
    if packs:
        packed = await asyncio.to_thread(_compressed, str(answer.path))
        return Response(packed, media_type=answer.media_type, headers=headers | {"Content-Encoding": "gzip"})
    answer.headers.update(headers)
    return answer


@functools.cache
def _compressed(file: str) -> bytes:
    # A higher level takes twice the time for one byte in a hundred.
    return gzip.compress(Path(file).read_bytes(), compresslevel=6, mtime=0)


async def vote(update: UpdateFeedbackRequest, current_user: CurrentUser) -> Any:  # noqa: ARG001  requires a login
    """Store a vote. Chainlit answers every error with 500; here, the data layer's errors get their own status."""
    layer = get_data_layer()
    if layer is None:
        raise HTTPException(500, "Data persistence is not enabled.")
    return {"success": True, "feedbackId": await layer.upsert_feedback(update.feedback)}


async def read_translations(request: Request, language: PageLanguage = None) -> Any:
    """Chainlit's texts. They name their language: the page learns from it which one is shown."""
    chosen = _language_of(request, language)
    if language and not known_language(language) and not _chosen(request):
        # Chainlit has texts in more languages than we have.
        chosen = config.ui.language or language
    answer = await chainlit.server.project_translations(chosen)
    answer.headers["Content-Language"] = chosen
    return answer


def _language_of(request: Request, asked: str | None) -> str:
    """The language of Chainlit's page.

    Args:
        request: has all languages of the browser, in the order of the reader's wishes.
        asked: by Chainlit's page: the browser's first language.
    """
    return language_for(_chosen(request), config.ui.language, asked, request.headers.get("accept-language"))


def _chosen(request: Request) -> str | None:
    return chosen_language(request.headers.get("cookie"))


async def read_settings(
    request: Request,
    current_user: CurrentUser,
    language: PageLanguage = None,
    chat_profile: str | None = None,
) -> Any:
    """The settings of Chainlit's page, with links to our pages in the reader's language, by role."""
    language = _language_of(request, language)
    answer = await chainlit.server.project_settings(current_user, language, chat_profile)
    content = json.loads(bytes(answer.body))
    links, root = content["ui"].get("header_links") or [], root_path()
    person = person_at(request)
    if person is not None and may_review(person):
        links = [
            *links,
            {"name": "Review", "icon_url": "/public/review.svg", "url": f"{root}/review", "target": "_self"},
        ]
    if person is not None and is_admin(person):
        links = [
            *links,
            *(
                {"name": name, "icon_url": f"/public/{page}.svg", "url": f"{root}/{page}", "target": "_self"}
                for name, page in (("Assistants", "assistants"), ("Admin", "admin"))
            ),
        ]
    for link in links:
        if words := _LINK_WORDS.get(link["url"].removeprefix(root)):
            link["display_name"] = PAGES.say(words, language)
        elif link["display_name"] in CHAT.forms("demo_header"):
            link["display_name"] = CHAT.say("demo_header", language)
    content["ui"]["header_links"] = links
    if uploads := content["features"].get("spontaneous_file_upload"):
        # The page would refuse a file with a list of all types and without its name; `upload_file` gives the reason.
        uploads["accept"] = {}
    return JSONResponse(content)
