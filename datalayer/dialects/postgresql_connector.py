"""Opens every connection to Postgres, for SQLAlchemy and for the layer itself, and finds out what serves it.

A connection pooler in transaction mode gives each transaction another connection of the server. A named statement that
one client prepares is then answered with another client's statement, and settings reach other clients. Poolers give
their clients a process id of their own. So each new connection asks whether the process id that it was given is that of
the server's process, and whether this process began with the connection; some poolers count their clients from 1, and
so may hit a process id. The same statement makes the connection's settings, and only if both hold. If not, connections
are opened again without named statements and without settings, which is right with every mode of a pooler.
"""

import errno
import getpass
import logging
import socket
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg

from datalayer.dialects.postgresql_kept import KeptStatements
from datalayer.dialects.postgresql_passfile import PassFile
from datalayer.dialects.postgresql_url import SOCKET_OPTIONS, PostgresURL, parse_url
from datalayer.dialects.sqlstates import Meaning, meaning_of, tells_of_a_pooler
from datalayer.errors import ConfigurationError

logger = logging.getLogger(__name__)

_STATEMENTS = 100
# The server does not know a parameter, its value or the form of `options`, or the user may not set it. PgBouncer
# refuses an unknown parameter with a violation of the protocol.
_WRONG_SETTINGS = ("22023", "42501", "42601", "42704")
_WRONG_PARAMETER = "startup parameter"
_OLDEST_SERVER = 14
# How much older than the attempt to connect the server's process may be, because clocks are corrected.
_OLDER_SECONDS = 2.0
_IS_OURS = (
    " WHERE pg_backend_pid() = {} AND (SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid()))"
    " > clock_timestamp() - make_interval(secs => {:.3f})"
)


class Connector:
    """Opens connections to the database of one URL."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            ConfigurationError: the URL cannot be used.
        """
        try:
            self.url = parse_url(url)
            _check_files(self.url)
            self._user = self.url.login.get("user") or _own_name()
        except ValueError as error:
            raise ConfigurationError(f"the Postgres URL {error}") from None
        pooler = self.url.pooler
        self.is_pooled: bool | None = {"auto": None, "transaction": True}.get(pooler, False)
        """Whether statements must have no names; None before the first connection."""
        self._asks = pooler == "auto"
        self._has_connected = False
        self._passfile = PassFile(self.url.passfile)
        self._last: tuple[str, int] | None = None

    @property
    def kept_descriptions(self) -> int:
        """How many descriptions of statements SQLAlchemy keeps for a connection."""
        return self.url.caches.get("prepared_statement_cache_size", _STATEMENTS)

    async def connect(self, settings: Mapping[str, str]) -> Any:
        """A new connection of asyncpg's. A pooler's connection does not get the settings.

        Raises:
            ConfigurationError: the URL can never work, and no connection has worked so far.
            ConnectionError: the server does not answer in time; not TimeoutError, which means a slow statement.
            asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError: as from asyncpg.
        """
        if self.is_pooled:
            return await self.open(unnamed=True)
        # To find the server with the right role, the driver asks each one, before the pooler is found out.
        careful = self.is_pooled is None and "target_session_attrs" in self.url.driver
        began = time.monotonic()
        connection = await self.open(unnamed=careful)
        try:
            whole = await self._set(connection, settings, seconds=time.monotonic() - began)
        except BaseException:
            connection.terminate()
            raise
        if whole and not careful:
            self.is_pooled = False
            return connection
        await connection.close(timeout=5)
        if not whole:
            logger.info("a connection pooler is in between: statements get no names, and sessions no settings")
        self.is_pooled = not whole
        return await self.connect(settings)

    def learn(self, error: object) -> None:
        """After an error of the driver: if a statement got into another session, no further statement gets a name."""
        cause = getattr(error, "__cause__", None) or error
        if not self.is_pooled and tells_of_a_pooler(getattr(cause, "sqlstate", None)):
            logger.warning("a connection pooler lost a statement: from now on statements get no names")
            self.is_pooled = True

    async def open(self, *, unnamed: bool) -> Any:
        """A new connection, without settings. Raises as `connect`."""
        caches = {name: size for name, size in self.url.caches.items() if name != "prepared_statement_cache_size"}
        if unnamed:
            caches["statement_cache_size"] = 0
        failure: Exception | None = None
        for server, arguments in self.url.attempts(first=self._last):
            try:
                connection = await self._attempt(arguments | caches)
            except (OSError, asyncpg.PostgresError, asyncpg.InternalClientError) as error:
                if not _leaves_others(error):
                    raise
                # That a server has another role says least.
                if failure is None or not isinstance(error, asyncpg.TargetServerAttributeNotMatched):
                    failure = error
                continue
            self._last = server
            break
        else:
            assert failure is not None
            raise failure
        try:
            _demand_usable(connection)
            self._keep_alive(connection)
        except BaseException:
            connection.terminate()
            raise
        self._has_connected = True
        return connection

    async def _attempt(self, arguments: dict[str, Any]) -> Any:
        """A connection to one server. Raises as `connect`."""
        try:
            # Also without a password: otherwise the driver looks for one in the file.
            arguments |= {"user": self._user, "password": self._password(), "connection_class": KeptStatements}
            if self.url.files.get("sslrootcert") == "system":
                arguments["ssl"] = _trusting_the_system(self.url)
            limits = {"timeout": self.url.attempt_seconds, "command_timeout": self.url.command_seconds}
            return await asyncpg.connect(**arguments, **limits)
        except TimeoutError:
            raise ConnectionError(errno.ETIMEDOUT, "the server does not answer in time") from None
        except OSError as error:
            folder = str(arguments.get("host", ""))
            if isinstance(error, FileNotFoundError) and folder.startswith("/"):
                words = f"no server has a socket for port {arguments['port']} in {folder}"
                raise ConnectionError(error.errno, words) from None
            raise  # a certificate that is not trusted is a ValueError too
        except (asyncpg.InterfaceError, ValueError) as error:
            raise self._mistake(_words(error)) from error
        except asyncpg.PostgresError as error:
            if error.sqlstate in _WRONG_SETTINGS or _WRONG_PARAMETER in str(error):
                raise self._mistake(f"the server refuses the connection: {_words(error)}") from error
            raise

    def _password(self) -> str:
        if password := self.url.login.get("password"):
            return password
        database = self.url.login.get("database", self._user)
        return self._passfile.password(self.url.servers, database, self._user) or ""

    async def _set(self, connection: Any, settings: Mapping[str, str], *, seconds: float) -> bool:
        """Make the settings if the server's process is that of this connection; gives whether it is.

        Args:
            seconds: since the attempt to connect began.
        """
        made = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items()) or "1"
        asked = _IS_OURS.format(connection.get_server_pid(), seconds + _OLDER_SECONDS) if self._asks else ""
        try:
            # The tag of the answer counts the rows, so that no statement has to be prepared.
            tag = await connection.execute(f"SELECT {made}{asked}", timeout=self.url.connect_seconds)
        except TimeoutError:
            raise ConnectionError(errno.ETIMEDOUT, "the server does not answer in time") from None
        return bool(tag == "SELECT 1")

    def _mistake(self, words: str) -> Exception:
        # A file may be replaced while the process runs: then writes wait.
        return ConnectionError(None, words) if self._has_connected else ConfigurationError(words)

    def _keep_alive(self, connection: Any) -> None:
        found: socket.socket | None = connection._transport.get_extra_info("socket")
        if found is None or found.family == socket.AF_UNIX:
            return
        for parameter, name in SOCKET_OPTIONS.items():
            value, option = self.url.socket_options.get(name), getattr(socket, name, None)
            if value is None or option is None:
                continue
            try:
                found.setsockopt(socket.SOL_SOCKET if name == "SO_KEEPALIVE" else socket.IPPROTO_TCP, option, value)
            except (OSError, OverflowError, TypeError):
                # A number that does not fit into 32 bits is a TypeError.
                raise self._mistake(f"the Postgres URL has {parameter}={value}, which this system refuses") from None


def _demand_usable(connection: Any) -> None:
    """Both facts come with the connection, without a statement.

    Raises:
        ConfigurationError: the server is too old, or the database cannot store every text.
    """
    version, encoding = connection.get_server_version(), getattr(connection.get_settings(), "server_encoding", "UTF8")
    if version.major < _OLDEST_SERVER:
        raise ConfigurationError(f"the server is Postgres {version.major}; {_OLDEST_SERVER} or later is needed")
    if encoding != "UTF8":
        raise ConfigurationError(
            f"the database has the encoding {encoding}, which cannot store every text: "
            "make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def _leaves_others(error: Exception) -> bool:
    """Whether another server of the URL may accept the connection, though this one did not."""
    state = getattr(error, "sqlstate", None)
    return not isinstance(state, str) or meaning_of(state) is Meaning.CONNECTION


def _own_name() -> str:
    """The user of the process, as the driver finds it.

    Raises:
        ValueError: the process has a user without a name, as in some containers.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise ValueError("names no user, and the user of this process has no name: write postgresql://USER@…") from None


def _own_file(name: str) -> str | None:
    """A file of the home folder that libpq and the driver use if none is given."""
    try:
        path = Path.home() / ".postgresql" / name
    except RuntimeError:
        return None
    return str(path) if path.exists() else None


def _words(error: BaseException) -> str:
    """The first sentence of the driver or the server."""
    return " ".join(str(error).split("\n", 1)[0].split())[:300].rstrip(".")


def _check_files(url: PostgresURL) -> None:
    """Load each file once by itself, because the driver's error does not say which one is wrong.

    Raises:
        ValueError: a file cannot be used.
    """
    for name, path in url.files.items():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if name == "sslcert":
                password = url.driver.get("sslpassword", "")
                key = url.files.get("sslkey") or _own_file("postgresql.key")
                context.load_cert_chain(path, key, lambda password=password: password)
            elif name in ("sslrootcert", "sslcrl") and path != "system":
                context.load_verify_locations(cafile=path)
        except ssl.SSLError:
            raise ValueError(f"has {name}={path}, which cannot be used: not such a file, or another key") from None
        except OSError as error:
            raise ValueError(f"has {name}={path}, which cannot be read ({error.strerror})") from None


def _trusting_the_system(url: PostgresURL) -> ssl.SSLContext:
    """A context for sslrootcert=system, which the driver does not know. The other parameters hold as for the driver.

    Raises:
        ValueError: a version of TLS does not exist.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    if certificate := url.files.get("sslcert") or _own_file("postgresql.crt"):
        key = url.files.get("sslkey") or _own_file("postgresql.key")
        context.load_cert_chain(certificate, key, url.driver.get("sslpassword", ""))
    if revoked := url.files.get("sslcrl") or _own_file("root.crl"):
        context.load_verify_locations(cafile=revoked)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    for name, attribute in (("min", "minimum_version"), ("max", "maximum_version")):
        if version := url.driver.get(f"ssl_{name}_protocol_version"):
            found = ssl.TLSVersion.__members__.get(version.replace(".", "_"))
            if found is None:
                raise ValueError(f"No such TLS version: {version}")
            setattr(context, attribute, found)
    return context
