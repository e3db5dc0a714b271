"""Counts the statements that a layer sends: on Postgres with a proxy, on SQLite with SQLite's own trace."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from benchmarks.wire import Wire
from datalayer import create_data_layer
from datalayer.chainlit_layer import ChainlitLayer

# The frame of a transaction, and the settings of a connection.
_NOT_COUNTED = ("BEGIN", "COMMIT", "ROLLBACK", "PRAGMA")


@dataclass
class Counter:
    """A layer, and the number of statements and of round trips since `reset`; SQLite has no round trips."""

    layer: ChainlitLayer
    _wire: Wire | None
    _traced: list[str] = field(default_factory=list)

    def reset(self) -> None:
        self._traced.clear()
        if self._wire is not None:
            self._wire.reset()

    @property
    def trips(self) -> int:
        return self._wire.round_trips if self._wire is not None else 0

    @property
    def statements(self) -> int:
        if self._wire is not None:
            return self._wire.statements
        # A statement is traced once more for each statement of a trigger that it fires.
        return sum(not statement.startswith(_NOT_COUNTED) for statement, _ in groupby(self._traced))


@contextmanager
def _counting(url: str, blobs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    if url.startswith("sqlite"):
        traced: list[str] = []
        connect = sqlite3.connect

        def tracing(*args: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **options)
            connection.set_trace_callback(traced.append)
            return connection

        monkeypatch.setattr(sqlite3, "connect", tracing)
        yield Counter(create_data_layer(url, blobs=f"file://{blobs}"), None, traced)
        return
    with Wire(url) as wire:
        yield Counter(create_data_layer(wire.url, blobs=f"file://{blobs}"), wire)


@asynccontextmanager
async def counted(url: str, blobs: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counter]:
    """A layer on this database whose statements are counted."""
    with _counting(url, blobs, monkeypatch) as counter:
        try:
            yield counter
        finally:
            await counter.layer.close()
