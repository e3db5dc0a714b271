"""A read of a Postgres database through the driver alone.

SQLAlchemy is not imported: for a command that reads a few rows, its import takes longer than everything else.
"""

from typing import Any

from datalayer.dialects.postgresql_connector import Connector


async def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement that only reads.

    Raises:
        ConfigurationError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError: as from
            `Connector.connect`.
    """
    # One statement needs no name, so nothing has to be asked about a pooler.
    connection = await Connector(url).open(unnamed=True)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close(timeout=5)
