"""Downloads: stored files, and what is generated while it is sent."""

import codecs
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from datalayer import OpenBlob

# Spreadsheets read a cell that starts with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


BOM = codecs.BOM_UTF8
"""The first bytes of a CSV file. Without them, Excel reads UTF-8 in the encoding of its language, and garbles it."""


class Download(StreamingResponse):
    """A stream whose first part is already read. Its source is closed at the end, also when the reader disconnects."""

    def __init__(self, body: AsyncIterator[bytes], first: bytes, **options: Any) -> None:
        super().__init__(body, **options)
        self._first = first

    async def stream_response(self, send: Send) -> None:
        source: Any = self.body_iterator
        async with aclosing(source):
            self.body_iterator = _after(self._first, source)
            await super().stream_response(send)


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


class StoredFile(StreamingResponse):
    """A stored file. It is closed at the end, also when the reader disconnects before the first byte."""

    def __init__(self, blob: OpenBlob, status: int = 200, *, headers: Mapping[str, str], **options: Any) -> None:
        super().__init__(blob, status, {**headers, "Content-Length": str(blob.end - blob.start)}, **options)
        self._blob = blob

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._blob:
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        async with aclosing(aiter(self._blob)) as self.body_iterator:
            await super().stream_response(send)


def stored_zip(blob: OpenBlob, name: str, *, otherwise: str) -> StoredFile:
    """The download of a stored ZIP. `otherwise`: its file name if `name` cannot be in a header."""
    headers = attachment(name if name.isascii() and '"' not in name else otherwise)
    return StoredFile(blob, media_type="application/zip", headers=headers)


def attachment(name: str) -> dict[str, str]:
    """The headers of a download with this file name; caches must not keep it."""
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"}


def cell(value: Any) -> Any:
    """A value for CSV. Text that a spreadsheet would run as a formula gets an apostrophe in front."""
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False) if value else ""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
