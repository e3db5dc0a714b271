"""Postgres URLs against a real server: connections of every kind are made from the same parameters."""

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy import text

from datalayer import ConfigurationError, DataLayerError, StorageUnavailable, create_data_layer
from datalayer.database import Database
from datalayer.dialects.postgresql_direct import rows
from datalayer.read_replica import ReadReplica
from tests.support import missing
from tests.support.certificate import self_signed
from tests.support.many_writers import ManyWriters
from tests.support.postgres import Cluster, find_binaries, ordinary_user
from threadkeeper.commands.check import check_parts
from threadkeeper.settings.settings import Settings

# The other parts of the check are left out.
_OTHERS = ("BLOB_URL", "CHAINLIT_AUTH_SECRET", "OPENAI_API_KEY", "TELEMETRY")


class Server:
    """A server with TLS and a socket in a folder."""

    def __init__(self, url: str, folder: Path) -> None:
        self.parts, self.folder = urlsplit(url), folder

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate.pem"

    @property
    def login(self) -> str:
        return self.parts.netloc.rpartition("@")[0]

    def url(self, query: str = "", host: str = "") -> str:
        """A URL of the server; `{ca}` and `{port}` stand for its certificate and port."""
        place = f"{self.login}@{host}" if host else self.parts.netloc
        filled = f"{place}/postgres?{query}".format(ca=self.certificate, port=self.parts.port, folder=self.folder)
        return f"postgresql://{filled}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    binaries = find_binaries()
    if binaries is None:
        missing.skip_or_fail("POSTGRES: no server's binaries found, so URLs with TLS were not tried")
    folder = Path(tempfile.mkdtemp(prefix="threadkeeper-tls-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        both = self_signed(folder).read_text()
        key, certificate, _ = both.partition("-----BEGIN CERTIFICATE-----")
        (folder / "key.pem").write_text(key)
        (folder / "certificate.pem").write_text(certificate + both[len(key) + len(certificate) :])
        (folder / "key.pem").chmod(0o600)
        if user := ordinary_user():
            for path in (folder, folder / "key.pem"):
                os.chown(path, user.pw_uid, user.pw_gid)
        settings = {
            "ssl": "on",
            "ssl_cert_file": str(folder / "certificate.pem"),
            "ssl_key_file": str(folder / "key.pem"),
            "unix_socket_directories": str(folder),
        }
        with Cluster(binaries, settings=settings) as cluster:
            yield Server(cluster.url, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
async def connections_end() -> AsyncIterator[None]:
    """Lets the loop run until every connection is closed.

    asyncpg closes a refused connection, and one that cancels a statement, without waiting. Over TLS, its socket stays
    open until the server has answered that TLS ends, which a busy server does after the test.
    """
    yield
    async with asyncio.timeout(30):
        while any(not one.is_closing() for one in asyncio.get_running_loop()._transports.values()):  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)


async def answers(url: str, sql: str) -> list[Any]:
    """The answer of a connection of each kind: SQLAlchemy's for reads and for writes, the layer's, and a command's."""
    database = Database(url)
    found = []
    try:
        async with database.read() as connection:
            found.append((await connection.execute(text(sql))).scalar_one())
        async with database.write() as connection:
            found.append((await connection.execute(text(sql))).scalar_one())
        found.append((await database.fetch(text(sql), {}))[0][0])
    finally:
        await database.close()
    found.append((await rows(url, sql))[0][0])
    return found


async def refused(url: str) -> DataLayerError:
    with pytest.raises(DataLayerError) as caught:
        await answers(url, "SELECT 1")
    password = urlsplit(url).password
    assert password is None or password not in str(caught.value)
    return caught.value


TLS = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
NAME = "SELECT current_setting('application_name')"


@pytest.mark.parametrize(
    ("query", "host", "sql", "answer"),
    [
        ("", "", NAME, "threadkeeper"),
        ("application_name=chat", "", NAME, "chat"),
        ("options=-c%20work_mem%3D7MB", "", "SELECT current_setting('work_mem')", "7MB"),
        ("sslmode=disable", "", TLS, False),
        ("sslmode=require", "", TLS, True),
        ("sslmode=verify-full&sslrootcert={ca}", "", TLS, True),
        ("sslmode=require&channel_binding=require&sslrootcert={ca}", "", TLS, True),
        ("host={folder}&port={port}", "", "SELECT inet_server_addr() IS NULL", True),
        ("target_session_attrs=read-write&connect_timeout=3", "127.0.0.1:1,127.0.0.1:{port}", "SELECT 7", 7),
        ("load_balance_hosts=random", "127.0.0.1:1,127.0.0.1:{port}", "SELECT 7", 7),
        ("prepared_statement_cache_size=0&command_timeout=30", "", "SELECT 7", 7),
        ("keepalives_idle=77&tcp_user_timeout=7000&gssencmode=prefer&client_encoding=utf8", "", "SELECT 7", 7),
    ],
)
async def test_each_kind_of_connection_uses_the_parameters(
    server: Server, query: str, host: str, sql: str, answer: object
) -> None:
    url = server.url(query, host)
    if query.startswith("host="):
        url = url.replace(server.parts.netloc, f"{server.login}@")
    assert await answers(url, sql) == [answer] * 4


async def test_a_host_that_never_answers_leaves_time_for_the_next_one(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{server.parts.port}"
        database = Database(server.url("target_session_attrs=read-write&timeout=4", hosts))
        try:
            assert (await database.fetch(text("SELECT 7"), {}))[0][0] == 7
            # From now on, that one is tried first.
            silent.close()
            async with database.read() as connection:
                assert (await connection.execute(text("SELECT 7"))).scalar_one() == 7
        finally:
            await database.close()


async def test_the_command_timeout_holds_for_both_kinds(server: Server) -> None:
    database = Database(server.url("command_timeout=0.2"))
    try:
        for fetched in (True, False):
            with pytest.raises(StorageUnavailable, match=r"does not answer in time|took too long"):
                if fetched:
                    await database.fetch(text("SELECT pg_sleep(9)"), {})
                async with database.read() as connection:
                    await connection.execute(text("SELECT pg_sleep(9)"))
    finally:
        await database.close()


async def test_keepalives_and_the_time_for_an_answer_are_those_of_the_url(server: Server) -> None:
    query = "keepalives_idle=77&keepalives_interval=7&keepalives_count=6&tcp_user_timeout=7000"
    database = Database(server.url(query))
    connection = await database.dialect.connector.connect({})  # type: ignore[attr-defined]
    found = connection._transport.get_extra_info("socket")
    assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    assert [found.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [77, 7, 6, 7000]
    # The server has settings of the same name for its own socket; these stay as they are.
    assert await connection.fetchval("SELECT current_setting('tcp_user_timeout')") == "0"
    await connection.close()
    await database.close()


async def test_a_pass_file_and_the_environment_are_used(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, _, password = server.login.partition(":")
    passes = tmp_path / "pass"
    passes.write_text(f"127.0.0.1:*:*:{user}:{password}\n")
    passes.chmod(0o600)
    for name, value in (("PGHOST", "127.0.0.1"), ("PGPORT", str(server.parts.port)), ("PGUSER", user)):
        monkeypatch.setenv(name, value)
    assert await answers(f"postgresql:///postgres?passfile={passes}", "SELECT 7") == [7] * 4
    monkeypatch.setenv("PGPASSFILE", str(passes))
    assert await answers("postgresql:///postgres", "SELECT 7") == [7] * 4


async def test_an_escaped_password_of_a_pass_file_is_used(server: Server, tmp_path: Path) -> None:
    await rows(server.url(), r"CREATE ROLE odd LOGIN PASSWORD 'a:b\c天 '")
    passes = tmp_path / "pass"
    passes.write_text("127.0.0.1:*:*:odd:a\\:b\\\\c天 \n")
    passes.chmod(0o600)
    place = f"odd@127.0.0.1:{server.parts.port}/postgres"
    assert await answers(f"postgresql://{place}?passfile={passes}", "SELECT 7") == [7] * 4
    error = await refused(f"postgresql://{place}?passfile={tmp_path}/none")
    assert "the server refuses the user's password" in str(error)
    passes.write_text("127.0.0.1:*:*:odd:one\nlocalhost:*:*:odd:two\n")
    hosts = f"odd@127.0.0.1,localhost/postgres?port={server.parts.port}&passfile={passes}"
    assert "the hosts have different passwords in" in str(await refused(f"postgresql://{hosts}"))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sslmode=REQUIRE", "`sslmode` parameter must be one of: disable, allow, prefer, require, verify-ca"),
        ("sslmode=verify-full", 'root certificate file "'),
        ("sslmode=verify-full&sslrootcert=/nowhere.pem", "has sslrootcert=/nowhere.pem, which cannot be read"),
        ("sslcert={folder}/key.pem", "which cannot be used: not such a file, or another key"),
        ("target_session_attrs=fast", "target_session_attrs is expected to be one of"),
        ("ssl_min_protocol_version=TLSv9", "No such TLS version: TLSv9"),
        ("sslrootcert=system&ssl_min_protocol_version=TLSv9", "No such TLS version: TLSv9"),
        ("sslnegotiation=maybe", "`sslnegotiation` parameter must be one of"),
        ("options=-c%20no_such_setting%3D1", 'unrecognized configuration parameter "no_such_setting"'),
        ("options=-c%20work_mem%3Dlots", 'invalid value for parameter "work_mem"'),
        ("channel_binding=maybe", "has channel_binding=maybe"),
        ("options=nonsense", "invalid command-line argument for server process: nonsense"),
        ("keepalives_idle=40000", "has keepalives_idle=40000, which this system refuses"),
        ("tcp_user_timeout=99999999999", "has tcp_user_timeout=99999999999, which this system refuses"),
    ],
)
async def test_a_wrong_parameter_is_a_mistake_in_the_settings(server: Server, query: str, words: str) -> None:
    error = await refused(server.url(query))
    assert isinstance(error, ConfigurationError)
    assert words in str(error)


async def test_what_the_user_may_not_set_is_told_in_the_servers_words(server: Server) -> None:
    await rows(server.url(), "CREATE ROLE ordinary LOGIN PASSWORD 'hunter2'")
    query = "options=-c%20log_statement%3Dall"
    error = await refused(f"postgresql://ordinary:hunter2@127.0.0.1:{server.parts.port}/postgres?{query}")
    assert isinstance(error, ConfigurationError)
    assert 'permission denied to set parameter "log_statement"' in str(error)


async def test_a_socket_that_is_not_there_is_told(server: Server) -> None:
    error = await refused(f"postgresql://{server.login}@/postgres?host={server.folder}&port=1")
    assert f"no server has a socket for port 1 in {server.folder}" in str(error)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_cannot_store_every_text_is_refused(server: Server, encoding: str) -> None:
    await rows(server.url(), f"CREATE DATABASE {encoding} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    url = server.url().replace("/postgres?", f"/{encoding.lower()}?")
    error = await refused(url)
    assert isinstance(error, ConfigurationError)
    assert f"the database has the encoding {encoding}, which cannot store every text" in str(error)


async def test_an_old_server_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    old = asyncpg.types.ServerVersion(13, 21, 0, "final", 0)
    monkeypatch.setattr(asyncpg.Connection, "get_server_version", lambda _: old)
    assert "the server is Postgres 13; 14 or later is needed" in str(await refused(server.url()))


async def test_a_database_that_only_reads_or_has_no_schema_is_told(server: Server) -> None:
    for name, value, words in (
        ("default_transaction_read_only", "on", "reachable, but read-only, as a standby is: nothing can be stored"),
        ("search_path", "nowhere", "no schema of the database's search_path exists: create one"),
    ):
        url = server.url(f"options=-c%20{name}%3D{value}")
        [part] = [part for part in await check_parts(Settings(database_url=url), _OTHERS) if part.part == "database"]
        assert (part.ok, words in part.finding) == (False, True), part.finding
    layer = create_data_layer(url)
    with pytest.raises(ConfigurationError, match="no schema of the database's search_path exists"):
        await layer.migrate()
    await layer.close()


async def test_a_mistake_in_the_url_of_a_read_replica_ends_the_start_and_its_outage_does_not(server: Server) -> None:
    primary = Database(server.url())
    wrong = ReadReplica(primary, Database(server.url("sslmode=REQUIRE")))
    away = ReadReplica(primary, Database(server.url(host="127.0.0.1:1")))
    with pytest.raises(ConfigurationError, match="`sslmode` parameter must be one of"):
        await wrong.demand_settings()
    await away.demand_settings()
    for replica in (wrong, away):
        await replica.close()
    await primary.close()


async def test_a_certificate_that_is_not_trusted_is_told(server: Server) -> None:
    for query in ("channel_binding=require", "sslrootcert=system"):
        error = await refused(server.url(query))
        assert "the server's certificate is not trusted" in str(error)


async def test_a_server_without_the_right_role_is_told(server: Server) -> None:
    assert "no host has the role" in str(await refused(server.url("target_session_attrs=standby")))


async def test_a_file_that_vanishes_later_makes_writes_wait(server: Server, tmp_path: Path) -> None:
    copy = Path(shutil.copy(server.certificate, tmp_path / "ca.pem"))
    database = Database(server.url(f"sslmode=verify-full&sslrootcert={copy}"))
    try:
        await database.ping()
        copy.unlink()
        with pytest.raises(StorageUnavailable):
            await database.fetch(text("SELECT 1"), {})
    finally:
        await database.close()


async def test_a_process_holds_at_most_its_connections(server: Server) -> None:
    url = server.url("application_name=counted")
    layer = create_data_layer(url, connections=7, pool_timeout=30)
    try:
        await layer.migrate()
        writers = ManyWriters(layer, 10)
        async with writers.writing():
            for _ in range(5):
                await asyncio.gather(*(_read(layer.database) for _ in range(10)))
        mine = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counted'"
        ((held,),) = await rows(server.url(), mine)
        assert 5 <= held <= 7
    finally:
        await layer.close()
    with pytest.raises(ConfigurationError, match="at least 5 connections"):
        Database(url, connections=4)


async def _read(database: Database) -> None:
    await database.fetch(text("SELECT pg_sleep(0.01)::text"), {})
    await database.query(lambda connection: connection.execute(text("SELECT pg_sleep(0.01)")))
