"""Files and other elements of a thread: list them, upload and download a file."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request, Response

from datalayer import BlobError
from datalayer.blobs.headers import content_disposition
from threadkeeper.program_turns import AskThread, TurnRefused
from threadkeeper.web.api.access import Reader, Writer
from threadkeeper.web.api.file_bodies import BYTES, demand_no_form, media_type
from threadkeeper.web.api.later import refusal
from threadkeeper.web.api.once import IdempotencyKey, begin_once, digest_of, note_done
from threadkeeper.web.api.paging import Cursor, Limit, page_of
from threadkeeper.web.api.problems import invalid, not_found
from threadkeeper.web.api.route import PREFIX, ApiRoute, location_of
from threadkeeper.web.api.shapes import LARGEST_PAGE, Element, ElementPage
from threadkeeper.web.api.threads import demand_own_thread, own_whole_thread
from threadkeeper.web.pages.dependencies import Layer
from threadkeeper.web.pages.downloads import StoredFile


class UploadRoute(ApiRoute):
    """A route whose body is a file for a question."""

    def most_bytes(self, request: Request) -> int:
        asks: AskThread = request.state.ask_thread
        return asks.most_bytes


router = APIRouter(prefix=PREFIX, route_class=ApiRoute)
uploads = APIRouter(prefix=PREFIX, route_class=UploadRoute)


@router.get("/threads/{thread_id}/elements")
async def list_elements(
    *, caller: Reader, layer: Layer, thread_id: str, cursor: Cursor = None, limit: Limit = LARGEST_PAGE
) -> ElementPage:
    """The files and other elements of a thread, oldest first."""
    found = await own_whole_thread(layer, caller, thread_id)
    page, following = page_of(found["elements"], lambda one: str(one["id"]), cursor, limit)
    return ElementPage(data=[_shown(one) for one in page], next_cursor=following)


@uploads.post(
    "/threads/{thread_id}/elements",
    status_code=201,
    openapi_extra={"requestBody": {"content": BYTES, "required": True}},
)
async def upload_element(
    *,
    request: Request,
    caller: Writer,
    layer: Layer,
    thread_id: str,
    response: Response,
    name: Annotated[str, Query(min_length=1, max_length=300, description="The name of the file.")],
    idempotency_key: IdempotencyKey = None,
) -> Element:
    """Upload a file, which is the body of the request. A message that names its id is asked with it.

    It must be of a kind that the chat takes. Its type is the `Content-Type`, or follows from the name.
    """
    own_id = await demand_own_thread(layer, caller, thread_id)
    if not name.strip():
        raise invalid("query.name", "it has no text")
    asks: AskThread = request.state.ask_thread
    demand_no_form(request)
    async with _received(request) as file:
        await begin_once(request, caller, idempotency_key, file.digest)
        try:
            element_id = await asks.take_file(own_id, name=name, mime=media_type(request), path=file.path)
        except TurnRefused as refused:
            raise refusal(refused, "body") from None
    note_done(request, own_id)
    element = await layer.get_element(own_id, element_id)
    if element is None:
        raise not_found("thread")
    response.headers["Location"] = location_of(f"/threads/{own_id}/elements/{element_id}/content")
    response.headers["ETag"] = f'"{file.sha256}"'
    return _shown(element)


@router.get(
    "/threads/{thread_id}/elements/{element_id}/content",
    response_class=Response,
    responses={200: {"content": BYTES}},
)
async def download_element(caller: Reader, layer: Layer, thread_id: str, element_id: str) -> Response:
    """The file of an element, as a download."""
    found = await layer.open_element(await demand_own_thread(layer, caller, thread_id), element_id)
    if found is None:
        raise not_found("file")
    element, blob = found
    # Never as a page of this origin.
    headers = {
        "Content-Disposition": content_disposition(element.name, "application/octet-stream"),
        "X-Content-Type-Options": "nosniff",
        **({"ETag": f'"{element.sha256}"'} if element.sha256 else {}),
    }
    return StoredFile(blob, media_type="application/octet-stream", headers=headers)


class _Received(NamedTuple):
    """A body: the file that has it, the digest of the request, and the SHA-256 of the body."""

    path: Path
    digest: str
    sha256: str


@asynccontextmanager
async def _received(request: Request) -> AsyncIterator[_Received]:
    """The body of the request, in a file that is deleted at the end."""
    digest, checksum = digest_of(request), hashlib.sha256()
    try:
        with tempfile.NamedTemporaryFile(prefix="threadkeeper-upload-") as file:
            async for chunk in request.stream():
                digest.update(chunk)
                checksum.update(chunk)
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(file.flush)
            yield _Received(Path(file.name), digest.hexdigest(), checksum.hexdigest())
    except OSError as error:
        raise BlobError(f"an upload cannot be written to a temporary file: {error.strerror}") from error


def _shown(element: Mapping[str, Any]) -> Element:
    """An ElementDict as the API gives it."""
    return Element(
        id=element["id"],
        message_id=element.get("forId"),
        name=element.get("name"),
        type=element.get("type"),
        mime=element.get("mime"),
        has_file=bool(element.get("objectKey")),
    )
