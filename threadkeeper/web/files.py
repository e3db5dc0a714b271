"""Stored files under links that never expire: `/files/{thread}/{element}/{name}`.

The data layer decides who may read a file, as for its thread. Everyone else gets the same 404 as for a file that does
not exist. Uploaded content never runs as a page of this origin.

Files are streamed in chunks, whole or as a single range. If `FILES_REDIRECT_SECONDS` is set, browsers are redirected
to a short-lived signed link into the store.
"""

import logging
import re
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse
from starlette.types import Send

from datalayer import BlobError, Element, OpenBlob
from datalayer.blobs.headers import BYTES, content_disposition, content_type
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.settings.root_path import root_path
from threadkeeper.web.auth.gate import person_at
from threadkeeper.web.auth.roles import may_review
from threadkeeper.web.etags import is_known
from threadkeeper.web.pages.downloads import StoredFile

logger = logging.getLogger(__name__)

# Media types that are served unchanged. An SVG is displayed in a page, but downloaded when opened by itself.
_GIVEN_AS_THEY_ARE = (
    *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/svg+xml"),
    *("audio/", "video/", "application/pdf", "application/json"),
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_NOT_IN_A_LINK = re.compile(r"[\x00-\x1f\x7f/\\]")
_RANGE = re.compile(r"bytes\s*=\s*(?:(\d{1,18})\s*-\s*(\d{1,18})?|-\s*([1-9]\d{0,17}))\s*", re.ASCII | re.IGNORECASE)
_REVIEW = re.compile(r"https?://[^/]+(?:/[^/]+)*?/review/")
# The values of Sec-Fetch-Mode for what the browser itself displays or saves. Scripts could not read another host's
# response.
_ASKED_BY_THE_BROWSER_ITSELF = ("no-cors", "navigate")


def file_url(element: Element) -> str:
    """The path under which the element's file is served. The name in it is only for people."""
    name = _NOT_IN_A_LINK.sub("_", element.name or "").strip(". ") or "file"
    return f"{root_path()}/files/{element.thread_id}/{element.id}/{quote(name, safe='')}"


def files_router(layer: ChainlitLayer, *, redirect_seconds: int | None = None) -> APIRouter:
    """The route for the paths of `file_url`.

    Args:
        layer: reads the files.
        redirect_seconds: lifetime of the signed links to the store to which browsers are redirected, if the store has
            such links. None, and every request from a script, serves the file through this server.
    """
    router = APIRouter()

    @router.api_route("/files/{thread_id}/{element_id}/{name:path}", methods=["GET", "HEAD"], include_in_schema=False)
    async def read_file(request: Request, thread_id: str, element_id: str) -> Response:
        async def opened(start: int = 0, end: int | None = None) -> tuple[Element, OpenBlob]:
            found = await layer.open_element(thread_id, element_id, start, end)
            if found is None and (person := person_at(request)) is not None and may_review(person):
                # Only files of threads that the reviewer has opened; the owner can see the opening.
                found = await layer.open_element_for_review(thread_id, element_id, start, end)
            if found is None:
                raise HTTPException(404, "There is no such file.")
            return found

        asked, is_head = request.headers, request.method == "HEAD"
        by_the_browser = asked.get("sec-fetch-mode") in _ASKED_BY_THE_BROWSER_ITSELF
        if redirect_seconds and not is_head and by_the_browser and not _is_within_the_review(asked):
            link = await _link(layer, thread_id, element_id, redirect_seconds)
            if link is not None:
                # No cache may keep it: everyone with the link can read the file.
                return RedirectResponse(link, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})

        span = None if is_head else _asked_range(asked)
        start, end = span or (0, None)
        if is_head or start < 0 or "if-none-match" in asked:
            # The size and the headers are enough for the answer, or are needed first.
            element, nothing = await opened(0, 0)
            await nothing.close()
            headers = _headers(element)
            if is_known(asked, headers.get("ETag")):
                return NotModifiedResponse(Headers(headers))
            if is_head:
                return Response(headers=headers | {"Content-Length": str(nothing.size)})
            start = max(nothing.size + start, 0) if start < 0 else start
        element, blob = await opened(start, end)
        headers = _headers(element)
        if span is not None and not _is_still(asked, headers):
            await blob.close()
            span, (element, blob) = None, await opened()
            headers = _headers(element)
        if span is None:
            return _Streamed(element, blob, 200, headers)
        if blob.start == blob.end:
            await blob.close()
            return Response(status_code=416, headers={"Content-Range": f"bytes */{blob.size}"})
        headers["Content-Range"] = f"bytes {blob.start}-{blob.end - 1}/{blob.size}"
        return _Streamed(element, blob, 206, headers)

    return router


def _is_within_the_review(asked: Headers) -> bool:
    """Whether a review page displays the file: its policy allows no images from other hosts."""
    return asked.get("sec-fetch-mode") == "no-cors" and _REVIEW.match(asked.get("referer", "")) is not None


async def _link(layer: ChainlitLayer, thread_id: str, element_id: str, seconds: int) -> str | None:
    try:
        return await layer.element_link(thread_id, element_id, seconds)
    except BlobError as error:
        # Signing failed, but reading may work: serve the file through this server.
        ids = {"thread_id": thread_id, "record_id": element_id}
        logger.warning("could not make a signed link to a file; it is served through this server: %s", error, extra=ids)
        return None


class _Streamed(StoredFile):
    """The file of an element. If it cannot be read whole, the log says so."""

    def __init__(self, element: Element, blob: OpenBlob, status: int, headers: dict[str, str]) -> None:
        super().__init__(blob, status, headers=headers)
        self._element = element

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except BlobError as error:
            # The status is already sent. The browser notices that the body is incomplete, and does not cache it.
            ids = {"thread_id": self._element.thread_id, "record_id": self._element.id}
            logger.error("a download stopped before its end: %s", error, extra=ids)


def _asked_range(asked: Headers) -> tuple[int, int | None] | None:
    """Start and end of the requested range; a negative start counts from the end of the file.

    None, which means the whole file, for several ranges and for invalid ones. Starlette's parser is private and needs
    the size, which would cost another request to the store.
    """
    found = _RANGE.fullmatch(asked.get("range", "").strip())
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        return -int(suffix), None
    start, end = int(first), None if last is None else int(last) + 1
    return None if end is not None and end <= start else (start, end)


def _is_still(asked: Headers, headers: dict[str, str]) -> bool:
    """Whether `If-Range`, if sent, names the current content."""
    return "if-range" not in asked or asked["if-range"] == headers.get("ETag")


def _media_type(element: Element) -> str:
    mime = content_type(element.mime or "").partition(";")[0]
    if mime.startswith(_GIVEN_AS_THEY_ARE):
        return mime
    # Markup and scripts are served as plain text.
    return "text/plain; charset=utf-8" if mime.startswith("text/") else BYTES


def _headers(element: Element) -> dict[str, str]:
    mime = _media_type(element)
    headers = {
        "Content-Type": mime,
        "Content-Disposition": content_disposition(element.name, mime),
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        # Revalidated each time, mostly answered with 304: the next person at this browser may not be allowed to
        # read it.
        "Cache-Control": "private, no-cache",
        # Compression would remove the length and the ranges.
        "Content-Encoding": "identity",
    }
    if mime != "application/pdf":
        # Browsers' PDF viewers do not open in a sandbox. They run nothing in this origin.
        headers["Content-Security-Policy"] = _POLICY
    if element.sha256:
        headers["ETag"] = f'"{element.sha256}"'
    return headers
