"""The engine behind two doors, `read()` and `write()`, and the one place where a driver's errors become ours."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from sqlalchemy import Executable, text
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.errors import ConfigurationError, ConnectionLost

T = TypeVar("T")


def dialect_of(url: str) -> Dialect:
    """The dialect that a database URL names.

    Raises:
        ConfigurationError: the URL is of no engine known here, or its driver is not installed.
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
    """Connections to one database. Making it connects to nothing."""

    def __init__(self, url: str, **options: Any) -> None:
        self.dialect = dialect_of(url)
        self.engine = self.dialect.create_engine(url, **options)
        # A pool of their own, so that reads which hold every connection do not hold up the writes: one for the writer,
        # and one more for a migration or a command beside it.
        one = {} if "poolclass" in options else {"pool_size": 1, "max_overflow": 1}
        self.writing_engine = self.dialect.create_engine(url, for_writes=True, **options | one)
        self._reading = self.engine.execution_options(**self.dialect.read_options)
        self._writing = self.writing_engine.execution_options(writes=True)
        self._writing_once = self.writing_engine.execution_options(writes=True, **self.dialect.read_options)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection without a transaction: no round trip but the queries'."""
        with self.translated():
            async with self._reading.connect() as connection:
                yield connection

    async def query(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What the work, which only reads, finds; done once more where its connection turns out to be dead."""
        try:
            async with self.read() as connection:
                return await work(connection)
        except ConnectionLost:
            # The others in the pool are as old as the one that was lost, and are not used again.
            async with self.read() as connection:
                return await work(connection)

    @asynccontextmanager
    async def write(self, *, migrates: bool = False) -> AsyncIterator[AsyncConnection]:
        """A transaction that is committed at the end of the block, or undone by an exception.

        One that `migrates` may wait longer for another that does.
        """
        engine = self._writing.execution_options(migrates=True) if migrates else self._writing
        with self.translated():
            async with engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write_once(self) -> AsyncIterator[AsyncConnection]:
        """For one statement alone, which is a transaction by itself: no round trip but its own, where that can be."""
        with self.translated():
            async with self._writing_once.begin() as connection:
                yield connection

    async def fetch(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        """The rows of a statement that is kept and run again and again, in the way that is fastest on the engine.

        Each row is a tuple; ids are texts and JSON is what it means, on both engines.

        Args:
            statement: without values of its own: all that changes from call to call is a named parameter.
            values: one for each of its parameters.
        """
        if self.dialect.fetch is not None:
            with self.translated():
                return await self.dialect.fetch(statement, values)
        async with self.read() as connection:
            return (await connection.execute(statement, values)).all()

    @property
    def in_use(self) -> int:
        """How many connections are in use now, but for the one on which steps are written."""
        pools = (self.engine.pool, self.writing_engine.pool)
        return sum(pool.checkedout() for pool in pools) + self.dialect.reading  # type: ignore[attr-defined]

    async def ping(self) -> None:
        """Ask the database for an answer.

        Raises:
            StorageUnavailable: there is none.
        """
        await self.query(lambda connection: connection.execute(text("SELECT 1")))

    async def close(self) -> None:
        await self.dialect.close()
        await self.writing_engine.dispose()
        await self.engine.dispose()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Within the block, what a driver raises becomes an error of the library."""
        try:
            yield
        except Exception as error:
            ours = self.dialect.translate(error)
            if ours is None:
                raise
            raise ours from error
