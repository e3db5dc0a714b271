"""Stored files under links that never expire: `/files/{thread}/{element}/{name}`.

Who may read a file is decided by the data layer, as for everything else in its thread; whoever may not gets the
same answer as for a file that does not exist. Nothing a user uploaded ever runs as a page of ours.
"""

import re
from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import StreamingResponse

from datalayer import Element, OpenBlob

_SHOWN_INLINE = (
    *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"),
    *("audio/", "video/", "application/pdf", "application/json"),
)
_NOT_IN_A_LINK = re.compile(r"[\x00-\x1f\x7f/\\]")


class ElementReader(Protocol):
    async def open_element(self, thread_id: str, element_id: str) -> tuple[Element, OpenBlob] | None: ...


def file_url(element: Element) -> str:
    """The link under which the element's file is served here. Its name in it is for people alone."""
    name = _NOT_IN_A_LINK.sub("_", element.name or "").strip(". ") or "file"
    return f"/files/{element.thread_id}/{element.id}/{quote(name, safe='')}"


def files_router(layer: Callable[[], ElementReader]) -> APIRouter:
    """The route that serves what `file_url` points to."""
    router = APIRouter()

    @router.get("/files/{thread_id}/{element_id}/{name:path}", include_in_schema=False)
    async def read_file(thread_id: str, element_id: str, name: str) -> Response:  # noqa: ARG001  for the reader only
        found = await layer().open_element(thread_id, element_id)
        if found is None:
            raise HTTPException(404, "There is no such file.")
        element, content = found
        return StreamingResponse(content, media_type=_media_type(element), headers=_headers(element))

    return router


def _media_type(element: Element) -> str:
    mime = (element.mime or "application/octet-stream").split(";")[0].strip().lower()
    # Markup and scripts are shown as the text they are.
    return mime if mime.startswith(_SHOWN_INLINE) else _text_or_bytes(mime)


def _text_or_bytes(mime: str) -> str:
    return "text/plain; charset=utf-8" if mime.startswith("text/") else "application/octet-stream"


def _headers(element: Element) -> dict[str, str]:
    shown = not _media_type(element).startswith("application/octet-stream")
    name = quote(element.name or "file", safe="")
    return {
        "Content-Disposition": f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{name}",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=300",
    }
