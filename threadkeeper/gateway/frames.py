"""The frames of a stream of server-sent events, on their way to the caller."""

from __future__ import annotations

import re

_ENDS_FRAME = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_DATA = re.compile(rb"^data: ?(.*?)\r?$", re.MULTILINE)


def data_of(frame: bytes) -> bytes | None:
    """The first line of data of a frame; None if it has none."""
    found = _DATA.search(frame)
    return found.group(1) if found else None


class Frames:
    """Changes the frames of a stream. A frame is held back until its last byte has come.

    `most_held` bytes are a frame at most. A stream with a longer one is none of the kind; it goes through as it is.
    """

    most_held = 1024 * 1024

    def __init__(self) -> None:
        self._held, self._is_passing = b"", False

    def changed(self, frame: bytes) -> bytes:
        """What the caller gets in place of a frame."""
        raise NotImplementedError

    def feed(self, chunk: bytes) -> bytes:
        """The bytes for the caller."""
        if self._is_passing:
            return chunk
        data, passed, begin = self._held + chunk, [], 0
        for found in _ENDS_FRAME.finditer(data):
            passed.append(self.changed(data[begin : found.end()]))
            begin = found.end()
        self._held = data[begin:]
        if len(self._held) > self.most_held:
            passed.append(self._held)
            self._held, self._is_passing = b"", True
        return b"".join(passed)

    def finish(self) -> bytes:
        """The rest, after the last byte: a frame whose empty line is missing."""
        rest, self._held = self._held, b""
        return self.changed(rest) if rest.strip() else rest
