"""Errors of an unusable database give the reason and reveal no secret."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from datalayer import StorageUnavailable
from datalayer.database import Database
from tests.support.postgres import Databases

SECRET = "hunter2"


async def reason(url: str) -> str:
    database = Database(url)
    try:
        with pytest.raises(StorageUnavailable) as caught:
            await database.ping()
    finally:
        await database.close()
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"netloc": "threadkeeper:hunter2@{place}"}, "refuses the user's password"),
        ({"path": "/hunter2"}, "no such database"),
        ({"netloc": "threadkeeper:hunter2@no-such-host.invalid:5432"}, "host name cannot be resolved"),
        ({"netloc": "threadkeeper:hunter2@127.0.0.1:1"}, "nothing listens at that host and port"),
        ({"netloc": "threadkeeper:hunter2@localhost:1"}, "nothing listens at that host and port"),
    ],
    ids=["password", "database", "host", "port", "port of several addresses"],
)
async def test_the_reason_for_a_wrong_postgres_url_is_given(
    postgres: Databases, change: dict[str, str], words: str
) -> None:
    parts = urlsplit(postgres.server_url)
    place = parts.netloc.rpartition("@")[2]
    assert words in await reason(parts._replace(**{k: v.format(place=place) for k, v in change.items()}).geturl())


@pytest.fixture
async def server_without_tls() -> AsyncIterator[int]:
    """A server that refuses TLS and closes the connection."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"N")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_server_without_tls_is_reported(server_without_tls: int) -> None:
    address = f"postgresql://someone:{SECRET}@127.0.0.1:{server_without_tls}/x"
    assert "the server does not offer it" in await reason(f"{address}?sslmode=require")
    # An error without a known reason is named by its class.
    assert "the database cannot be used now (" in await reason(f"{address}?sslmode=disable")


async def test_the_reason_for_an_unusable_sqlite_file_is_given(tmp_path: Path) -> None:
    assert "its folder is missing" in await reason(f"sqlite:///{tmp_path}/nowhere/x.db")
    (tmp_path / "text.db").write_text("this is no database, however long it goes on" * 100)
    assert "is not a SQLite database" in await reason(f"sqlite:///{tmp_path}/text.db")
