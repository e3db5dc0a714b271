"""The copy of a response that is read beside it. The caller gets the bytes; the copy is decoded and parsed.

A stream of events is parsed in pieces, so that its memory does not grow and no parser runs for each token. Another
answer is kept whole, up to a bound. What cannot be read is said in `problem`.
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Callable
from typing import Any

from threadkeeper.chat.providers.openai_answers import ENDS, parsed_event
from threadkeeper.chat.providers.reported_errors import named_error
from threadkeeper.chat.providers.sse import COMMENT, ERROR, STRAY, EventDecoder
from threadkeeper.gateway.answer import Answer

_PARSED_AT_ONCE = 64 * 1024
_IN_A_THREAD = 256 * 1024
# Compressed bytes can be a thousand times as many when they are not.
_COMPRESSED_IN_A_THREAD = 4 * 1024
_MOST_BYTES = 32 * 1024 * 1024
_MOST_DECODED = 128 * 1024 * 1024
_LONGEST_WORDS = 400
# In a list: before the first event, and before the others.
_BEFORE_EVENT = re.compile(r"\s*\[\s*(?=\{)"), re.compile(r"\s*,\s*(?=\{)")
_NO_TEXT = ("audio/", "image/", "video/", "application/octet-stream", "multipart/", "application/zip")


class Copy:
    """The copy of one response."""

    def __init__(self, answer: Answer, *, status: int, content_type: str, content_encoding: str) -> None:
        self.answer = answer
        self.problem: str | None = None
        self._status = status
        self._type = content_type.partition(";")[0].strip().lower()
        self._is_stream = self._type == "text/event-stream" and status < 400
        self._is_kept = not self._type.startswith(_NO_TEXT)
        self._events = EventDecoder()
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._decode = _decoder(content_encoding)
        self._is_plain = self._decode is bytes
        if self._decode is None:
            self._give_up(f"its content-encoding {content_encoding[:40]!r} is not known")

    async def take(self, chunk: bytes) -> None:
        """Take the next bytes as they came. What cannot be read ends the copy, never the answer of the caller."""
        try:
            await self.feed(chunk)
        except Exception as error:  # noqa: BLE001  the words of a provider must not end the stream of a caller
            self._give_up(f"it cannot be read ({type(error).__name__}: {error})")

    async def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Streams of events are parsed from time to time."""
        if not self._is_kept:
            return
        self._waiting.append(chunk)
        self._bytes += len(chunk)
        if self._is_stream and self._bytes >= _PARSED_AT_ONCE:
            await self._aside(self._parse_events)
        elif self._bytes > _MOST_BYTES:
            self._give_up(f"it is longer than {_MOST_BYTES:,} bytes")

    async def finish(self) -> None:
        """Parse the rest, after the last byte."""
        await self._aside(self._finish)

    async def _aside(self, work: Callable[[], None]) -> None:
        """Do this with the waiting bytes; in a thread if they are many, so that other calls go on."""
        if self._bytes > (_IN_A_THREAD if self._is_plain else _COMPRESSED_IN_A_THREAD):
            await asyncio.to_thread(work)
        else:
            work()

    def _finish(self) -> None:
        if self._is_kept:
            if self._is_stream:
                self._parse_events()
                self._take_events(self._events.finish())
            else:
                self._parse_whole()
        self.answer.end()
        if self.answer.unread:
            self.problem = self.problem or f"{self.answer.unread} events of it are not readable"

    def _taken(self) -> bytes:
        raw = b"".join(self._waiting)
        self._waiting, self._bytes = [], 0
        try:
            return self._decode(raw) if self._decode is not None else b""
        except (zlib.error, ValueError) as error:
            self._give_up(f"it cannot be decompressed ({error})")
            return b""

    def _parse_events(self) -> None:
        self._take_events(self._events.feed(self._taken()))
        if self._events.held > _MOST_BYTES:
            self._give_up(f"it has an event of more than {_MOST_BYTES:,} bytes")

    def _take_events(self, events: list[tuple[int, bytes]]) -> None:
        for kind, payload in events:
            if kind == ERROR:
                self._take_named_error(payload)
            elif kind == COMMENT or payload.startswith(ENDS):
                continue
            else:
                try:
                    self.answer.take(parsed_event(payload))
                except (ValueError, RecursionError):
                    # Lines outside of events mostly are words of a proxy.
                    self.answer.unread += kind != STRAY

    def _take_named_error(self, payload: bytes) -> None:
        before = self.answer.error
        self.answer.error = named_error(payload) if before is None else before

    def _parse_whole(self) -> None:
        body = self._taken()
        if not body.strip():
            return
        try:
            value: Any = parsed_event(body)
        except (ValueError, RecursionError):
            if self._status >= 400 or not self._take_begun_list(body):
                self._take_words(body)
            return
        if self._status >= 400:
            self.answer.refuse(value)
        else:
            self.answer.take(value)

    def _take_begun_list(self, body: bytes) -> bool:
        """Take the whole events of a list without its end, as Gemini streams it; False if it is none."""
        text, at, count, decoder = body.decode(errors="replace"), 0, 0, json.JSONDecoder()
        while (found := _BEFORE_EVENT[bool(count)].match(text, at)) is not None:
            try:
                value, at = decoder.raw_decode(text, found.end())
            except (ValueError, RecursionError):
                break
            self.answer.take(value)
            count += 1
        if count:
            self.problem = self.problem or "its end is missing"
        return bool(count)

    def _take_words(self, body: bytes) -> None:
        """A body that is no JSON: the words of an error, the text of a transcription, or a page of a proxy."""
        words = body.decode(errors="replace")
        if self._status >= 400:
            self.answer.refuse(words[:_LONGEST_WORDS])
        elif self._type == "text/plain":
            self.answer.take({"text": words})
        else:
            self.problem = self.problem or f"its type is {self._type or 'not given'}, and it is no JSON"

    def _give_up(self, reason: str) -> None:
        self.problem, self._is_kept, self._waiting, self._bytes = reason, False, [], 0
        self._events = EventDecoder()


class _Inflater:
    """Decompresses gzip and deflate, also several members in a row, up to a bound in all."""

    def __init__(self, bits: int) -> None:
        self._bits, self._total = bits, 0
        self._inflater = zlib.decompressobj(bits)

    def __call__(self, data: bytes) -> bytes:
        found = []
        while data:
            part = self._inflater.decompress(data, _MOST_DECODED - self._total + 1)
            self._total += len(part)
            if self._total > _MOST_DECODED:
                raise ValueError(f"it has more than {_MOST_DECODED:,} bytes")
            found.append(part)
            data = self._inflater.unused_data
            if data:
                self._inflater = zlib.decompressobj(self._bits)
        return b"".join(found)


class _Deflate(_Inflater):
    """With the header of zlib, as the standard says, or without, as some servers send it."""

    def __init__(self) -> None:
        super().__init__(zlib.MAX_WBITS)
        self._has_begun = False

    def __call__(self, data: bytes) -> bytes:
        if data and not self._has_begun:
            self._has_begun = True
            if data[0] & 0x0F != 8:
                super().__init__(-zlib.MAX_WBITS)
        return super().__call__(data)


def _decoder(encoding: str) -> Any:
    """What undoes this Content-Encoding; None if it is not known."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return bytes
    if name in ("gzip", "x-gzip"):
        return _Inflater(zlib.MAX_WBITS | 16)
    return _Deflate() if name == "deflate" else None


def is_long(body: bytes, encoding: str) -> bool:
    """Whether to read this body in a thread, so that other calls go on."""
    return len(body) > (_IN_A_THREAD if _decoder(encoding) is bytes else _COMPRESSED_IN_A_THREAD)


def decoded(body: bytes, encoding: str) -> bytes | None:
    """The body without its Content-Encoding; None if it cannot be decoded."""
    decode = _decoder(encoding)
    try:
        return decode(body) if decode is not None else None
    except (zlib.error, ValueError):
        return None


def as_json(body: bytes) -> Any:
    """The JSON value of a body; None if it is none."""
    try:
        return json.loads(body) if body.strip() else None
    except (ValueError, RecursionError):
        return None


def names_of(body: bytes) -> list[str]:
    """The names of the members of a JSON object, also those that are there several times."""
    names: list[str] = []

    def keep(members: list[tuple[str, Any]]) -> None:
        # The outermost object comes last.
        names[:] = [name for name, _ in members]

    json.loads(body, object_pairs_hook=keep)
    return names
