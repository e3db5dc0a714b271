"""A connection to Postgres, and a read through the driver alone.

SQLAlchemy is not imported: for a command that reads a few rows, its import takes longer than everything else.
"""

import errno
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

_CONNECT_SECONDS = 10


async def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement that only reads.

    Raises:
        asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError: as from asyncpg.
    """
    connection = await connect(
        url_for(url, "postgresql", "sslmode"),
        command_timeout=60,
        server_settings={"application_name": "threadkeeper", "jit": "off"},
    )
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close(timeout=5)


async def connect(*address: Any, **options: Any) -> Any:
    """Open a connection of asyncpg's.

    Raises:
        ConnectionError: the server does not answer in time; not TimeoutError, which means a slow statement.
    """
    try:
        return await asyncpg.connect(*address, timeout=_CONNECT_SECONDS, **options)
    except TimeoutError:
        raise ConnectionError(errno.ETIMEDOUT, "the server does not answer in time") from None


def url_for(url: str, scheme: str, encryption: str) -> str:
    """The URL with this scheme, and with the driver's parameter for encryption (`ssl`, or `sslmode` as in libpq)."""
    parts = urlsplit(url)
    query = [(encryption if key in ("ssl", "sslmode") else key, value) for key, value in parse_qsl(parts.query)]
    return urlunsplit((scheme, parts.netloc, parts.path, urlencode(query), ""))
