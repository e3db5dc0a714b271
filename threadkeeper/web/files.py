"""Stored files under links that never expire: `/files/{thread}/{element}/{name}`.

Who may read a file is decided by the data layer, as for everything else in its thread; whoever may not gets the
same answer as for a file that does not exist. Nothing a user uploaded ever runs as a page of ours.

Files go by in chunks, whole or in one range. Where the operator wants it, the browser is sent on to the store itself,
with a link that lives for seconds or minutes.
"""

import logging
import re
from collections.abc import Callable
from contextlib import aclosing
from typing import Protocol
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse
from starlette.types import Receive, Scope, Send

from datalayer import BlobError, Element, OpenBlob
from datalayer.blobs.headers import BYTES, content_disposition, content_type
from threadkeeper.web.auth.gate import person_at
from threadkeeper.web.auth.roles import may_review

logger = logging.getLogger(__name__)

# What is given out as what it is. An SVG shows as a picture within a page of ours; opened by itself it is a download.
_GIVEN_AS_THEY_ARE = (
    *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/svg+xml"),
    *("audio/", "video/", "application/pdf", "application/json"),
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_NOT_IN_A_LINK = re.compile(r"[\x00-\x1f\x7f/\\]")
_RANGE = re.compile(r"bytes\s*=\s*(?:(\d{1,18})\s*-\s*(\d{1,18})?|-\s*([1-9]\d{0,17}))\s*", re.ASCII | re.IGNORECASE)
_REVIEW = re.compile(r"https?://[^/]+/review/")
# How a browser asks for what it shows or saves by itself. A script of the page could not read what another host sends.
_ASKED_BY_THE_BROWSER_ITSELF = ("no-cors", "navigate")


class ElementReader(Protocol):
    async def open_element(
        self, thread_id: str, element_id: str, start: int = 0, end: int | None = None
    ) -> tuple[Element, OpenBlob] | None: ...

    async def element_link(self, thread_id: str, element_id: str, seconds: int) -> str | None: ...

    async def open_element_for_review(
        self, thread_id: str, element_id: str, start: int = 0, end: int | None = None
    ) -> tuple[Element, OpenBlob] | None: ...


def file_url(element: Element) -> str:
    """The link under which the element's file is served here. Its name in it is for people alone."""
    name = _NOT_IN_A_LINK.sub("_", element.name or "").strip(". ") or "file"
    return f"/files/{element.thread_id}/{element.id}/{quote(name, safe='')}"


def files_router(layer: Callable[[], ElementReader], *, redirect_seconds: int | None = None) -> APIRouter:
    """The route that serves what `file_url` points to.

    Args:
        layer: gives the data layer.
        redirect_seconds: send browsers on to the store, where it has links, with one that lives so long. Without it,
            and for whatever a script of the page asks for, the file goes through this server.
    """
    router = APIRouter()

    @router.api_route("/files/{thread_id}/{element_id}/{name:path}", methods=["GET", "HEAD"], include_in_schema=False)
    async def read_file(request: Request, thread_id: str, element_id: str) -> Response:
        async def opened(start: int = 0, end: int | None = None) -> tuple[Element, OpenBlob]:
            found = await layer().open_element(thread_id, element_id, start, end)
            if found is None and (person := person_at(request)) is not None and may_review(person):
                # Only of a thread that they have opened, which its owner can see.
                found = await layer().open_element_for_review(thread_id, element_id, start, end)
            if found is None:
                raise HTTPException(404, "There is no such file.")
            return found

        asked, is_head = request.headers, request.method == "HEAD"
        by_the_browser = asked.get("sec-fetch-mode") in _ASKED_BY_THE_BROWSER_ITSELF
        if redirect_seconds and not is_head and by_the_browser and not _is_within_the_review(asked):
            link = await _link(layer(), thread_id, element_id, redirect_seconds)
            if link is not None:
                # Kept by nobody: the link is good for whoever has it.
                return RedirectResponse(link, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})

        span = None if is_head else _asked_range(asked)
        start, end = span or (0, None)
        if is_head or start < 0 or "if-none-match" in asked:
            # What is there is enough to answer with, or has to be known first.
            element, nothing = await opened(0, 0)
            await nothing.close()
            headers = _headers(element)
            if _is_known(asked, headers):
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
    """Whether a page of the review shows it, whose policy loads pictures from no other host."""
    return asked.get("sec-fetch-mode") == "no-cors" and _REVIEW.match(asked.get("referer", "")) is not None


async def _link(layer: ElementReader, thread_id: str, element_id: str, seconds: int) -> str | None:
    try:
        return await layer.element_link(thread_id, element_id, seconds)
    except BlobError as error:
        # Who may not sign, or cannot now, may read all the same: the file goes through this server.
        ids = {"thread_id": thread_id, "record_id": element_id}
        logger.warning("a file is not given out by the store itself: %s", error, extra=ids)
        return None


class _Streamed(StreamingResponse):
    """The bytes of an open blob, which is closed whether the reader stays to the end or not."""

    def __init__(self, element: Element, blob: OpenBlob, status: int, headers: dict[str, str]) -> None:
        super().__init__(blob, status, headers | {"Content-Length": str(blob.end - blob.start)})
        self._element, self._blob = element, blob

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._blob:
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        try:
            async with aclosing(aiter(self._blob)) as self.body_iterator:
                await super().stream_response(send)
        except BlobError as error:
            # The status has gone out already. An answer without its end tells the browser, and is not kept by it.
            ids = {"thread_id": self._element.thread_id, "record_id": self._element.id}
            logger.error("a file was cut off on its way to its reader: %s", error, extra=ids)


def _asked_range(asked: Headers) -> tuple[int, int | None] | None:
    """Start and end of the one range that is asked for; from the end of the file where the start is negative.

    Starlette's own reading of this header is no public name of it, and needs the size first: to ask a store for that
    would be a request of its own. Several ranges at once, or none that makes sense, are answered with the whole file.
    """
    found = _RANGE.fullmatch(asked.get("range", "").strip())
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        return -int(suffix), None
    start, end = int(first), None if last is None else int(last) + 1
    return None if end is not None and end <= start else (start, end)


def _is_known(asked: Headers, headers: dict[str, str]) -> bool:
    """Whether the browser has this content already."""
    tags = [tag.strip().removeprefix("W/") for tag in asked.get("if-none-match", "").split(",")]
    return headers.get("ETag") in tags


def _is_still(asked: Headers, headers: dict[str, str]) -> bool:
    """Whether a range goes on from what the browser has, as far as it asks for that."""
    return "if-range" not in asked or asked["if-range"] == headers.get("ETag")


def _media_type(element: Element) -> str:
    mime = content_type(element.mime or "").partition(";")[0]
    if mime.startswith(_GIVEN_AS_THEY_ARE):
        return mime
    # Markup and scripts are given as the text they are.
    return "text/plain; charset=utf-8" if mime.startswith("text/") else BYTES


def _headers(element: Element) -> dict[str, str]:
    mime = _media_type(element)
    headers = {
        "Content-Type": mime,
        "Content-Disposition": content_disposition(element.name, mime),
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        # Asked for again each time, and mostly answered without the bytes: the next person at this browser may not
        # be allowed to read it.
        "Cache-Control": "private, no-cache",
        # Compressed on its way it would have neither a length nor ranges.
        "Content-Encoding": "identity",
    }
    if mime != "application/pdf":
        # A browser's own PDF viewer does not open in a sandbox. It runs nothing as our origin.
        headers["Content-Security-Policy"] = _POLICY
    if element.sha256:
        headers["ETag"] = f'"{element.sha256}"'
    return headers
