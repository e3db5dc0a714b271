"""The hot paths of SQLite: step writes and reads through sqlite3, on connections and threads of their own.

A batch of writes, or a read, is one call into a thread. aiosqlite calls its thread for each cursor, statement, row
set and commit, and each call costs more than the statement.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from datalayer.dialects import sqlite_steps
from datalayer.dialects.sqlite_direct import PRAGMAS, keep_private
from datalayer.records.writes import StepKey, StepWrite

T = TypeVar("T")

_MOST_READING = 4
# Each connection is used by several threads, one after another, and keeps this many prepared statements.
_OPTIONS = {"check_same_thread": False, "isolation_level": None, "cached_statements": 256}
_CLOSE_SECONDS = 2.0

Processor = Callable[[Any], Any]


class SQLiteConnections:
    """One connection that writes steps and a few that read, each used by one thread at a time; opened at first use."""

    def __init__(self, engine: Engine, connect_options: Mapping[str, Any]) -> None:
        """
        Args:
            engine: names the file, and compiles the statements of reads.
            connect_options: further options of `sqlite3.connect`.
        """
        arguments, options = engine.dialect.create_connect_args(engine.url)
        self._file = arguments[0]
        self._options = {**options, **connect_options, **_OPTIONS}
        self._compiled_for = engine.dialect
        self._writing, self._reading = _threads()
        self._writer: sqlite3.Connection | None = None
        self._free: list[sqlite3.Connection] = []
        self._closed = False
        self._lock = threading.Lock()
        self._statements: WeakKeyDictionary[Any, _Statement] = WeakKeyDictionary()
        self.in_use = 0
        """The number of connections that are reading."""

    @property
    def is_ready(self) -> bool:
        return self._writer is not None

    async def write_steps(self, writes: Sequence[StepWrite]) -> set[StepKey]:
        return await asyncio.get_running_loop().run_in_executor(self._writing, self._write_steps, writes)

    async def fetch(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        known = self._statements.get(statement)
        if known is None:
            known = self._statements[statement] = _Statement(statement, self._compiled_for)
        self.in_use += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reading, self._fetch, known, values)
        finally:
            self.in_use -= 1

    async def close(self) -> None:
        """Close the connections; one that is busy for more than two seconds is closed after its work."""
        self._closed = True
        writing, reading = self._writing, self._reading
        self._writing, self._reading = _threads()
        closing = asyncio.get_running_loop().run_in_executor(writing, self._close)
        for threads in (writing, reading):
            threads.shutdown(wait=False)
        await asyncio.wait({closing}, timeout=_CLOSE_SECONDS)

    def _write_steps(self, writes: Sequence[StepWrite]) -> set[StepKey]:
        if self._writer is None:
            self._writer = self._connect()
        try:
            return sqlite_steps.write(self._writer, writes)
        except sqlite3.Error:
            if self._writer.in_transaction:
                # It could not be rolled back, so the next write begins with another connection.
                writer, self._writer = self._writer, None
                writer.close()
            raise

    def _fetch(self, statement: "_Statement", values: Mapping[str, Any]) -> Sequence[Any]:
        with self._to_read() as connection:
            return statement.rows(connection, values)

    @contextlib.contextmanager
    def _to_read(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._free.pop() if self._free else None
        if connection is None:
            connection = self._connect()
        try:
            yield connection
        finally:
            with self._lock:
                is_kept = not self._closed
                if is_kept:
                    self._free.append(connection)
            if not is_kept:
                connection.close()

    def _connect(self) -> sqlite3.Connection:
        keep_private(self._file)
        connection: sqlite3.Connection = sqlite3.connect(self._file, **self._options)
        try:
            for pragma in PRAGMAS:
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        with self._lock:
            free, self._free = self._free, []
        if self._writer is not None:
            free.append(self._writer)
            self._writer = None
        for connection in free:
            connection.close()


def _threads() -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
    """One thread that writes, and some that read; each starts when it is needed."""
    return ThreadPoolExecutor(1, "datalayer-writes"), ThreadPoolExecutor(_MOST_READING, "datalayer-reads")


class _Statement:
    """A read that is compiled once."""

    def __init__(self, statement: Executable, compiled_for: Any) -> None:
        compiled = statement.compile(dialect=compiled_for)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        self._sql = compiled.string
        self._names = tuple(compiled.positiontup or ())
        self._constants = compiled.params
        columns = statement.selected_columns  # type: ignore[attr-defined]
        found = ((at, _processor(column.type, compiled_for)) for at, column in enumerate(columns))
        self._processors = [(at, processor) for at, processor in found if processor is not None]

    def rows(self, connection: sqlite3.Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        given = {**self._constants, **values}
        rows = connection.execute(self._sql, [given[name] for name in self._names]).fetchall()
        return [self._processed(row) for row in rows] if self._processors else rows

    def _processed(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        changed = list(row)
        for at, processor in self._processors:
            if row[at] is not None:
                changed[at] = processor(row[at])
        return tuple(changed)


def _processor(kind: TypeEngine[Any], dialect: Any) -> Processor | None:
    """Makes the value of a column of this type from what SQLite stores; None if it is the same."""
    return kind.dialect_impl(dialect).result_processor(dialect, None)
