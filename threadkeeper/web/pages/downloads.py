"""Files that are made while they are sent: streams that are closed whether their reader stays or not."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Send

# What spreadsheets take for the beginning of a formula, with the separators that may lead to one.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Download(StreamingResponse):
    """A stream whose beginning is there already, and whose source is closed whether the reader stays or not."""

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


def attachment(name: str) -> dict[str, str]:
    """The headers of a file of this name, which nobody between here and its reader keeps."""
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"}


def cell(value: Any) -> Any:
    """A value as CSV has it: what a spreadsheet would take for a formula begins with an apostrophe."""
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False) if value else ""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
