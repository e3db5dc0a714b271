"""The connections to a database, for reads and writes. Errors of the driver are raised as errors of the library."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from sqlalchemy import Engine, Executable, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from datalayer.cleaning import machine_seconds
from datalayer.dialects import Dialect
from datalayer.errors import ConfigurationError, ConnectionLost

T = TypeVar("T")

Run = Callable[[Executable, Mapping[str, Any]], Awaitable[Sequence[Any]]]
"""Runs a statement that its caller keeps, with the values of its parameters, and gives its rows as tuples: alone
(`Database.write_alone`), or within a transaction (`within`)."""


def within(connection: AsyncConnection) -> Run:
    """Runs statements in the connection's transaction."""

    async def run(statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        return (await connection.execute(statement, values)).all()

    return run


def dialect_of(url: str) -> Dialect:
    """The dialect of a database URL.

    Raises:
        ConfigurationError: the engine is not supported, or its driver is not installed.
    """
    scheme = url.split(":", 1)[0].split("+", 1)[0]
    if scheme == "sqlite":
        from datalayer.dialects.sqlite import SQLite  # noqa: PLC0415  only the driver that is used is imported

        return SQLite()
    if scheme in ("postgresql", "postgres"):
        try:
            from datalayer.dialects.postgresql import PostgreSQL  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"Postgres needs the package {error.name}: install `threadkeeper[postgres]`"
            ) from error

        return PostgreSQL()
    raise ConfigurationError("the database URL must begin with sqlite:/// or postgresql://")


class Database:
    """Connections to one database. Nothing is connected before the first use."""

    def __init__(self, url: str, *, connections: int | None = None, **options: Any) -> None:
        """
        Args:
            connections: the maximum number of connections to a server; SQLite has none.
            options: of SQLAlchemy's `create_async_engine`.

        Raises:
            ConfigurationError: the URL or an option is not valid.
        """
        self.dialect = dialect_of(url)
        self._url = url
        if connections is not None:
            options |= self.dialect.pool_options(connections)
        self.engine = self.dialect.create_engine(url, **options)
        # Writes have a pool of their own, so that they do not wait when reads use every connection: one connection for
        # the writer, and one more for a concurrent migration or command.
        one = {} if "poolclass" in options else {"pool_size": 1, "max_overflow": 1}
        self.writing_engine = self.dialect.create_engine(url, for_writes=True, **options | one)
        self._reading = self.engine.execution_options(**self.dialect.read_options)
        self._writing = self.writing_engine.execution_options(writes=True)
        self._writing_once = self._writing.execution_options(**self.dialect.read_options)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection without a transaction, so that only the queries take round trips."""
        with self.translated():
            async with self._reading.connect() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads, for a statement that needs settings of its own."""
        with self.translated():
            async with self.engine.connect() as connection, connection.begin():
                yield connection

    async def query(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """The result of `work`, which only reads; it is repeated once if its connection was lost."""
        try:
            async with self.read() as connection:
                return await work(connection)
        except ConnectionLost:
            # The pool drops its other connections, which are as old as the lost one.
            async with self.read() as connection:
                return await work(connection)

    @asynccontextmanager
    async def write(self, *, migrates: bool = False) -> AsyncIterator[AsyncConnection]:
        """A transaction that is committed at the end of the block, or rolled back by an exception.

        Args:
            migrates: wait longer, because another process may be migrating.
        """
        engine = self._writing.execution_options(migrates=True) if migrates else self._writing
        with self.translated():
            async with engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncEngine]:
        """Connections whose statements take as long as they need. Only for an engine with `beside_writers`."""
        assert self.dialect.beside_writers is not None
        engine = self.dialect.beside_writers.create_engine(self._url)
        try:
            yield engine
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def write_once(self) -> AsyncIterator[AsyncConnection]:
        """A connection for one statement that writes. Where it costs round trips, there is no transaction around it."""
        if self.dialect.single_writes is None:
            async with self.write() as connection:
                yield connection
            return
        with self.translated():
            async with self._writing_once.connect() as connection:
                yield connection

    async def write_alone(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        """The rows of a statement that writes and is its own transaction: one round trip if the engine supports it.

        Only for the write queue, which runs one write at a time. Kept, with parameters and rows, as for `fetch`.
        """
        single_writes = self.dialect.single_writes
        if single_writes is not None:
            with self.translated():
                return await single_writes.write_alone(statement, values)
        async with self.write() as connection:
            return await within(connection)(statement, values)

    async def write_with_thread_locked(
        self, thread_id: str, statement: Executable, values: Mapping[str, Any]
    ) -> Sequence[Any]:
        """The rows of a statement that writes, run while nobody else writes to this thread, in a transaction.

        Only for an engine with `single_writes`. Kept, with parameters and rows, as for `fetch`.
        """
        single_writes = self.dialect.single_writes
        assert single_writes is not None
        with self.translated():
            return await single_writes.write_with_thread_locked(thread_id, statement, values)

    async def fetch(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        """The rows of a statement that its caller keeps and runs repeatedly, by the engine's fastest path.

        Each row is a tuple; ids are strings and JSON values are parsed, on both engines.

        Args:
            statement: every value that differs between calls must be a named parameter.
            values: one for each of its parameters.
        """
        try:
            return await self.dialect.hot_paths.fetch(statement, values)
        except Exception as error:
            # As `translated`, without the cost of a context manager.
            if (ours := self.dialect.translate(error)) is None:
                raise
            raise ours from error

    def create_sync_engine(self) -> Engine:
        """An engine of its own for a library that has no asyncio; see `Dialect.create_sync_engine`."""
        return self.dialect.create_sync_engine(self._url)

    @property
    def in_use(self) -> int:
        """The number of connections in use, without the connection that writes steps."""
        pools = (self.engine.pool, self.writing_engine.pool)
        return sum(pool.checkedout() for pool in pools) + self.dialect.hot_paths.in_use  # type: ignore[attr-defined]

    async def ping(self) -> None:
        """Run a trivial query.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        await self.query(lambda connection: connection.execute(text("SELECT 1")))

    async def is_read_only(self) -> bool:
        """Whether the server refuses all writes, as a standby does.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        found = await self.query(lambda connection: connection.scalar(select(self.dialect.is_read_only)))
        return bool(found)

    async def clock_ahead(self) -> float:
        """The seconds by which the database's clock is ahead of this machine's, within half of a round trip.

        Raises:
            StorageUnavailable: the database does not answer.
        """

        async def measure(connection: AsyncConnection) -> float:
            found = []
            # The first one may still have to be prepared.
            for _ in range(3):
                began = machine_seconds()
                there = (await connection.execute(select(self.dialect.clock))).scalar_one()
                ended = machine_seconds()
                found.append((ended - began, there - (began + ended) / 2))
            return min(found)[1]

        return await self.query(measure)

    async def close(self) -> None:
        await self.dialect.hot_paths.close()
        await self.writing_engine.dispose()
        await self.engine.dispose()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Within the block, errors of the driver become errors of the library."""
        try:
            yield
        except Exception as error:
            ours = self.dialect.translate(error)
            if ours is None:
                raise
            raise ours from error
