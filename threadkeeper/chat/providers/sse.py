"""Splits a stream of bytes into server-sent events, and the lines between them that are none.

It works on bytes and returns only whole payloads, so that a character of several bytes is never cut at the border of a
chunk. It builds one tuple per event and no more, because it runs for every token of every user.
Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

A browser ignores comments and unknown lines. They are returned here, because servers put their errors into them: a line
`error: {…}`, or a body that is JSON, NDJSON or a web page and no event stream at all.
"""

from __future__ import annotations

MESSAGE, ERROR, COMMENT, STRAY, OBJECT = range(5)
"""The kinds: an event with data, an event with "error" in its name (its data may be empty), a comment, lines of no
event, and a line of no event that looks like an object of JSON, as in a stream of NDJSON."""

Event = tuple[int, bytes]
"""Kind and payload."""

_BYTES_OF_AN_OBJECT = 40
_MOST_STRAY_BYTES = 1_000_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventDecoder:
    """Takes the chunks of a stream; returns the complete events, in their order."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._ends_line = False
        self._kind = MESSAGE
        self._data: list[bytes] = []
        self._stray: list[bytes] = []
        self._stray_bytes = 0

    def feed(self, chunk: bytes) -> list[Event]:
        if self._ends_line and chunk:
            # The second half of a line end, or nothing of it.
            chunk, self._ends_line = chunk.removeprefix(b"\n"), False
        if b"\r" in chunk:
            self._ends_line = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in chunk:
            self._rest.append(chunk)
            return []
        *lines, rest = b"".join([*self._rest, chunk]).split(b"\n")
        self._rest = [rest]
        return self._events(lines)

    @property
    def held(self) -> int:
        """About how many bytes of memory the events take that are not complete."""
        held = (*self._rest, *self._data)
        return sum(map(len, held)) + _BYTES_OF_AN_OBJECT * len(held)

    def finish(self) -> list[Event]:
        """The events in the buffer, if the stream ended without an empty line."""
        lines, self._rest = [b"".join(self._rest), b""], []
        return self._events(lines)

    def _events(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        for line in lines:
            if line.startswith(b"data:"):
                data = line[5:].strip()
                if len(self._data) == 1 and _is_next(self._data[0], data):
                    events.append((self._kind, self._data.pop()))
                    self._kind = MESSAGE
                self._data.append(data)
            elif line:
                self._take_other(line, events)
                continue
            elif self._data or self._kind == ERROR:
                data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                if data or self._kind == ERROR:
                    events.append((self._kind, data))
                self._data, self._kind = [], MESSAGE
            if self._stray:
                events.append((STRAY, b"\n".join(self._stray)))
                self._stray, self._stray_bytes = [], 0
        return events

    def _take_other(self, line: bytes, events: list[Event]) -> None:
        """A line that is neither data nor empty."""
        line = line.removeprefix(_BYTE_ORDER_MARK)
        name, colon, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.strip())
        elif name == b"event":
            self._kind = ERROR if b"error" in value.lower() else MESSAGE
        elif not name and colon:
            if comment := value.strip():
                events.append((COMMENT, comment))
        elif self._kind == ERROR and not self._data:
            self._data.append(line)
        elif _is_object(line) and not self._data and not self._stray:
            events.append((OBJECT, line))
        elif name not in (b"id", b"retry") and self._stray_bytes < _MOST_STRAY_BYTES:
            self._stray.append(line)
            self._stray_bytes += len(line)


def _is_object(line: bytes) -> bool:
    line = line.strip()
    return line.startswith(b"{") and line.endswith(b"}")


def _is_next(before: bytes, data: bytes) -> bool:
    """Whether this line of data begins an event, although no empty line ended the one before.

    Some servers and proxies leave out the empty lines, and clients that read line by line do not notice. An object of
    JSON that is spread over several lines of data ends none of its lines but the last with its own bracket.
    """
    return before[:1] == b"{" and before[-1:] == b"}" and (data[:1] == b"{" or data.startswith(b"[DONE]"))
