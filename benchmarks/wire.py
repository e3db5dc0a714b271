"""A TCP proxy before Postgres: it counts what a client asks, and can add the time that a network takes.

It reads Postgres' own protocol, so it counts for every driver alike, preparing and BEGIN and COMMIT included, which a
counter inside the server may not show. Its delay is for calls made one at a time.
"""

import contextlib
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_SSL_REQUEST = 80877103
_GSS_REQUEST = 80877104
_CHUNK = 1 << 20


class _Reader:
    """Cuts what a client sends into messages, across the borders of packets."""

    def __init__(self) -> None:
        self._kept = b""
        self._started = False

    def kinds(self, data: bytes) -> list[bytes]:
        """The types of the messages that are now complete."""
        self._kept += data
        found: list[bytes] = []
        while True:
            header = 5 if self._started else 4
            if len(self._kept) < header:
                return found
            (length,) = struct.unpack("!I", self._kept[header - 4 : header])
            size = length + header - 4
            if len(self._kept) < size:
                return found
            message, self._kept = self._kept[:size], self._kept[size:]
            if self._started:
                found.append(message[:1])
            else:
                # The first messages have no type; a wish for encryption comes before the real beginning.
                (code,) = struct.unpack("!I", message[4:8])
                self._started = code not in (_SSL_REQUEST, _GSS_REQUEST)


class Wire:
    """From `with` to the end of the block, `url` leads through this proxy to the server of the given URL."""

    def __init__(self, url: str, *, delay_seconds: float = 0.0) -> None:
        """The delay is of a whole round trip: half of it on the way there, half on the way back."""
        self._parts = urlsplit(url)
        self._half = delay_seconds / 2
        self._lock = threading.Lock()
        self.statements = 0
        """Statements run: simple queries and executions."""
        self.round_trips = 0
        """How often a client waited for an answer: simple queries and syncs."""

    @property
    def url(self) -> str:
        port = self._listener.getsockname()[1]
        return self._parts._replace(netloc=f"{self._parts.netloc.rsplit('@', 1)[0]}@127.0.0.1:{port}").geturl()

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def reset(self) -> None:
        with self._lock:
            self.statements = self.round_trips = 0

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed at the end of the block
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._parts.hostname or "127.0.0.1", self._parts.port or 5432))
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass, args=(client, server, _Reader()), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, None), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, reader: _Reader | None) -> None:
        with contextlib.suppress(OSError):  # either end may go at any time, which ends the other
            while data := source.recv(_CHUNK):
                if reader:
                    self._count(reader.kinds(data))
                if self._half:
                    _wait(self._half)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        source.close()

    def _count(self, kinds: list[bytes]) -> None:
        with self._lock:
            self.statements += sum(kind in (b"Q", b"E") for kind in kinds)
            self.round_trips += sum(kind in (b"Q", b"S") for kind in kinds)


def _wait(seconds: float) -> None:
    """Turns and does not sleep: a sleep of half a millisecond may take one tick of the kernel, which is four."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
