"""Splits a stream of bytes into the payloads of server-sent events.

It works on bytes and returns only whole payloads, so that a character of several bytes is never cut at the border of a
chunk. It builds no object per event, because it runs for every token of every user.
Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations


class EventDecoder:
    """Takes the chunks of a stream; returns the `data` of each complete event."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return self._events(lines)

    def finish(self) -> list[bytes]:
        """The event in the buffer, if the stream ended without an empty line."""
        lines, self._rest = [self._rest, b""], b""
        return self._events(lines)

    def _events(self, lines: list[bytes]) -> list[bytes]:
        events = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].strip())
            elif self._data and not line.rstrip(b"\r"):
                events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data = []
        return events
