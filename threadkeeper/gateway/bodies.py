"""The body of a request: JSON is read whole, because its model and its tokens decide; anything else is streamed.

Both are bounded. The beginning of a streamed body is kept, from which the model of a form is read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.types import Receive

from threadkeeper.gateway.refusals import Refused

MEGABYTE = 1_000_000
BEGINNING = 64 * 1024


def as_body(value: Mapping[str, Any]) -> bytes:
    """The JSON of a value."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


class CallerLeft(Exception):
    """The caller closed the connection before its request was complete."""


class RequestBody:
    """The body of one request. `is_complete` is set when its last byte has been read."""

    def __init__(self, receive: Receive, headers: Mapping[str, str], most_bytes: int) -> None:
        """Raises Refused if the request says itself that it is too large."""
        self._receive, self._most = receive, most_bytes
        self.is_complete = asyncio.Event()
        self.beginning = b""
        # aiohttp hides what a streamed body raises.
        self.problem: Refused | None = None
        self.has_left = False
        self._count = 0
        self._first: list[bytes] = []
        length = headers.get("content-length", "")
        self.is_empty = length == "0" or (not length and "transfer-encoding" not in headers)
        # None if the caller sends in chunks.
        self.length = int(length) if length.isdigit() and "transfer-encoding" not in headers else None
        if length.isdigit() and int(length) > most_bytes:
            raise self._too_large()

    async def whole(self) -> bytes:
        """All of it. Raises Refused if it is too large, and CallerLeft."""
        first = await self._next()
        # Nearly every body is one piece.
        return first if self.is_complete.is_set() else b"".join([first, *[piece async for piece in self._pieces()]])

    async def begin(self) -> None:
        """Read the first bytes into `beginning`. Raises as `whole`."""
        pieces = self._pieces()
        size = 0
        async for piece in pieces:
            self._first.append(piece)
            size += len(piece)
            if size >= BEGINNING:
                break
        await pieces.aclose()  # type: ignore[attr-defined]
        self.beginning = b"".join(self._first)[:BEGINNING]

    async def stream(self) -> AsyncIterator[bytes]:
        """The pieces as they come, with those of `begin`. `problem` and `has_left` say why they ended too early."""
        for piece in self._first:
            yield piece
        self._first = []
        if self.is_complete.is_set():
            return
        try:
            async for piece in self._pieces():
                yield piece
        except Refused as refused:
            self.problem = refused
            raise

    async def _pieces(self) -> AsyncIterator[bytes]:
        while not self.is_complete.is_set():
            if piece := await self._next():
                yield piece

    async def _next(self) -> bytes:
        """The next piece, which may be empty."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.has_left = True
            raise CallerLeft
        piece: bytes = message.get("body", b"")
        self._count += len(piece)
        if self._count > self._most:
            raise self._too_large()
        if not message.get("more_body", False):
            self.is_complete.set()
        return piece

    def _too_large(self) -> Refused:
        return Refused(413, "too_large", f"The request is larger than {self._most // MEGABYTE} MB.")
