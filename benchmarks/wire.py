"""A TCP proxy in front of Postgres: it counts the statements of a client and can add the delay of a network.

It parses the Postgres protocol, so it counts in the same way for every driver, including preparing, BEGIN and COMMIT,
which a counter in the server may not show. The delay is meant for calls made one at a time.
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
    """Splits the bytes of a client into messages, across packet boundaries."""

    def __init__(self) -> None:
        self._kept = b""
        self._started = False

    def kinds(self, data: bytes) -> list[bytes]:
        """The types of the messages completed by this data."""
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
                # The first messages have no type; a request for encryption comes before the startup message.
                (code,) = struct.unpack("!I", message[4:8])
                self._started = code not in (_SSL_REQUEST, _GSS_REQUEST)


class Wire:
    """Within the `with` block, `url` is the URL of this proxy to the given server."""

    def __init__(self, url: str, *, delay_seconds: float = 0.0) -> None:
        """The delay is that of a whole round trip: half of it in each direction."""
        self._parts = urlsplit(url)
        self._half = delay_seconds / 2
        self._lock = threading.Lock()
        self.statements = 0
        """Statements run: simple queries and executions."""
        self.round_trips = 0
        """Round trips, which are simple queries and syncs."""

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
        with contextlib.suppress(OSError):  # either end can close at any time, which ends the other
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
    """Wait actively: a sleep of half a millisecond can take one tick of the kernel, which is four milliseconds."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
