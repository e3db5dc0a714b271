"""A Postgres URL, parsed once for connections of every kind: SQLAlchemy's, the layer's own, and those of commands.

As in libpq, a parameter of the URL precedes one of the service file, which precedes the environment, and "+" is not a
space. Only the standard library is imported, because the settings check a URL before anything connects.
"""

import os
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from datalayer.dialects.postgresql_parameters import DRIVER, OF_OTHERS, OURS, REFUSED, TRANSLATED, VARIABLES
from datalayer.dialects.postgresql_service import read_service

DEFAULT_PORT = 5432
_SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg")
_CONNECT_SECONDS = 10.0
_COMMAND_SECONDS = 60.0
_POOLERS = ("auto", "transaction", "session", "none")
_ENCODED = "special characters in a user name or password must be percent-encoded"
_CACHES = ("statement_cache_size", "prepared_statement_cache_size")
_AMOUNTS = ("max_cached_statement_lifetime", "max_cacheable_statement_size")
_FILES: tuple[str, ...] = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_TLS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
SOCKET_OPTIONS = {
    "keepalives": "SO_KEEPALIVE",
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}
"""The parameters of libpq for a socket, with their names in the module `socket`."""


@dataclass(frozen=True, slots=True)
class PostgresURL:
    """The parameters of a URL, with those of its service file and of the environment."""

    servers: tuple[tuple[str, int], ...]
    """Hosts (or folders of sockets) and ports. The host is empty for the driver's default hosts."""
    shuffled: bool
    """Whether each connection tries the servers in a random order."""
    login: Mapping[str, str]
    """user, password and database, as far as they are given."""
    passfile: Path | None
    """The password file, if there is a home folder or one is given."""
    files: Mapping[str, str]
    """sslrootcert, sslcert, sslkey and sslcrl, as far as they are given. `sslrootcert` may be "system"."""
    driver: Mapping[str, str]
    """The parameters that are passed to the driver as they are, with `files`, but without sslrootcert=system."""
    server_settings: Mapping[str, str]
    """What is sent to the server when a connection starts."""
    connect_seconds: float | None
    """For all attempts of a connection together."""
    command_seconds: float
    socket_options: Mapping[str, int]
    """Names in the module `socket`, with values; SO_KEEPALIVE is one of them."""
    caches: Mapping[str, int]
    """Sizes of the caches of statements, as far as they are given."""
    pooler: str
    """auto, transaction, session or none."""

    def attempts(self, first: tuple[str, int] | None = None) -> list[tuple[tuple[str, int], dict[str, Any]]]:
        """Each server to try for one connection, in order, with the arguments of `asyncpg.connect` for it alone.

        The driver would try them all by itself, but within one time: a server that never answers would take it all.

        Args:
            first: the server to try before the others, where only one of them has the role.
        """
        servers = random.sample(self.servers, len(self.servers)) if self.shuffled else list(self.servers)
        role = self._role
        if role in ("read-write", "primary") and first in servers:
            servers.sort(key=lambda server: server != first)
        return [(server, self._arguments(server, role)) for role in _roles(role) for server in servers]

    def _arguments(self, server: tuple[str, int], role: str | None) -> dict[str, Any]:
        given: dict[str, Any] = {**self.login, "server_settings": dict(self.server_settings), "port": server[1]}
        if server[0]:
            given["host"] = server[0]
        driver = dict(self.driver) | ({"target_session_attrs": role} if role else {})
        # The driver takes its parameters for TLS from a URL alone.
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in driver.items())
        return given | {"dsn": f"postgresql://?{query}" if query else "postgresql://"}

    @property
    def _role(self) -> str | None:
        return self.driver.get("target_session_attrs")

    @property
    def attempt_seconds(self) -> float | None:
        """How long a server may take to answer each time when a connection starts."""
        if self.connect_seconds is None:
            return None
        return self.connect_seconds / (len(self.servers) * len(_roles(self._role)))


def _roles(role: str | None) -> tuple[str | None, ...]:
    """For which roles all servers are tried, one after another."""
    # Any server will do, but only if none is a standby.
    return ("standby", "any") if role == "prefer-standby" else (role,)


def parse_url(url: str, environment: Mapping[str, str] | None = None) -> PostgresURL:
    """The parameters of the URL, of its service file and of the environment (by default that of the process).

    Raises:
        ValueError: the URL cannot be used. The message begins with a verb, whose subject is the URL, and reveals no
            secret.
    """
    environment = os.environ if environment is None else environment
    given = _of_url(url)
    if any("\0" in value for value in given.values()):
        raise ValueError("contains %00, which no value can contain")
    if name := given.pop("service", environment.get("PGSERVICE", "")):
        service = read_service(name, given.get("servicefile", ""), environment)
        _refuse_unknown(service, f'the service "{name}"')
        given = service | given
    sources = {VARIABLES[key]: key for key in VARIABLES if environment.get(key) and VARIABLES[key] not in given}
    given = {parameter: environment[key] for parameter, key in sources.items()} | given
    for parameter, (values, why) in REFUSED.items():
        if parameter in given and given[parameter].lower() not in values:
            named = sources.get(parameter, parameter)
            # Where no value is accepted, it may be a secret.
            shown = f"{named}={given[parameter]}" if values else named
            raise ValueError(f"cannot be used with {shown}: {why}")
    if given.get("host") and given.get("hostaddr") and given["host"] != given["hostaddr"]:
        named = sources.get("hostaddr", "hostaddr")
        raise ValueError(f"has {named} beside a host: the driver looks up the host itself, so leave out {named}")
    if home := environment.get("HOME"):
        given.setdefault("passfile", f"{home}/.pgpass")
    return _parsed({parameter: value for parameter, value in given.items() if parameter not in REFUSED})


def _of_url(url: str) -> dict[str, str]:
    scheme, separator, rest = url.partition("://")
    if scheme not in _SCHEMES or not separator:
        if scheme.startswith(("postgresql+", "postgres+")):
            raise ValueError(f"names another driver than asyncpg ({scheme}://): write postgresql://")
        raise ValueError("must start with postgresql://")
    if "#" in rest:
        raise ValueError(f"contains a #: {_ENCODED}")
    place, _, query = rest.partition("?")
    address, _, database = place.partition("/")
    credentials, at, hosts = address.rpartition("@")
    user, _, password = credentials.partition(":")
    given: dict[str, str] = {}
    if at:
        given |= {"user": unquote(user), "password": unquote(password)}
    given |= _hosts(hosts) | {"dbname": unquote(database)}
    parameters = dict(_parameter(part) for part in query.split("&") if part)
    _refuse_unknown(parameters, "the URL")
    given |= parameters
    if "ssl" in given:
        given["sslmode"] = "require" if given["ssl"].lower() == "true" else given["ssl"]
        del given["ssl"]
    if database_ := given.pop("database", ""):
        given["dbname"] = database_
    return {name: value for name, value in given.items() if value}


def _parameter(part: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals:
        raise ValueError(f"has a parameter without a value: {_ENCODED}")
    return unquote(name), unquote(value)


def _refuse_unknown(parameters: Mapping[str, str], where: str) -> None:
    known = DRIVER | TRANSLATED | REFUSED.keys() | OURS
    for name in parameters:
        if name in OF_OTHERS:
            raise ValueError(f'has "{name}" in {where}: {OF_OTHERS[name]}')
        if name not in known:
            # A name with other characters is rather a part of a password.
            shown = f'"{name}"' if name.isidentifier() else "with other characters than letters"
            raise ValueError(
                f"has an unknown parameter {shown} in {where}; a setting of the server is options=-c%20name=value"
            )


def _hosts(written: str) -> dict[str, str]:
    """host and port, as lists with commas. Each host may have a port of its own."""
    if not written:
        return {}
    hosts, ports = [], []
    for one in written.split(","):
        if one.startswith("["):
            host, closed, port = one[1:].partition("]")
            if not closed or (port and not port.startswith(":")):
                raise ValueError("has an IPv6 address without its closing bracket")
            port = port[1:]
        else:
            host, _, port = one.partition(":")
        hosts.append(unquote(host))
        ports.append(unquote(port))
        _port(ports[-1])
    return {"host": ",".join(hosts), "port": ",".join(ports) if any(ports) else ""}


def _parsed(given: dict[str, str]) -> PostgresURL:
    servers = _servers(given)
    files: dict[str, str] = {name: given[name] for name in _FILES if name in given}
    driver = {name: given[name] for name in DRIVER if name in given}
    _bind_to_certificate(given, servers, files, driver)
    if given.get("requiressl") == "1":
        driver.setdefault("sslmode", "require")
    if given.get("direct_tls", "").lower() == "true":
        driver.setdefault("sslnegotiation", "direct")
    lowest, highest = (driver.get(f"ssl_{name}_protocol_version", "") for name in ("min", "max"))
    if {lowest, highest} <= set(_TLS) and _TLS.index(lowest) > _TLS.index(highest):
        raise ValueError(f"has ssl_min_protocol_version={lowest} above ssl_max_protocol_version={highest}")
    root = files.get("sslrootcert", "")
    if root == "system" and driver.setdefault("sslmode", "verify-full") != "verify-full":
        raise ValueError("has sslrootcert=system, which needs sslmode=verify-full")
    if root and root != "system":
        driver["sslrootcert"] = root
    names = {"user": "user", "password": "password", "dbname": "database"}
    amounts = {name: _whole(given, name) for name in (*_CACHES, *_AMOUNTS) if name in given}
    passfile = given.get("passfile", "")
    return PostgresURL(
        servers=servers,
        shuffled=_one_of(given, "load_balance_hosts", "disable", "random") == "random",
        login={ours: given[theirs] for theirs, ours in names.items() if theirs in given},
        passfile=Path(passfile) if passfile else None,
        files=files,
        driver=driver,
        server_settings=_server_settings(given),
        connect_seconds=_connect_seconds(given, len(servers) * len(_roles(driver.get("target_session_attrs")))),
        command_seconds=_seconds(given, "command_timeout") or _COMMAND_SECONDS,
        socket_options=_socket_options(given),
        caches=amounts,
        pooler=_pooler(given, amounts),
    )


def _servers(given: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    hosts = (given.get("host") or given.get("hostaddr") or "").split(",")
    if any(host.startswith("@") for host in hosts):
        raise ValueError("names a socket in the abstract namespace (@), which the driver cannot use: name its folder")
    if len(hosts) > 1 and "" in hosts:
        raise ValueError("has an empty host among several: write localhost, or the folder of the socket")
    ports = [_port(port) for port in given.get("port", "").split(",")]
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        raise ValueError(f"has {len(hosts)} hosts and {len(ports)} ports")
    return tuple(zip(hosts, ports, strict=True))


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    # A wrong port may be a part of a password, so it is not repeated.
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65_536):
        raise ValueError(f"has a port that is not a number from 1 to 65535: {_ENCODED}")
    return int(text)


def _bind_to_certificate(
    given: Mapping[str, str], servers: tuple[tuple[str, int], ...], files: dict[str, str], driver: dict[str, str]
) -> None:
    """Channel binding ends with an error if somebody is in between. The driver has none; verify-full does the same."""
    if _one_of(given, "channel_binding", "prefer", "disable", "require") != "require":
        return
    if driver.get("sslmode") == "disable" or any(host.startswith("/") for host, _ in servers):
        raise ValueError("has channel_binding=require, which needs TLS")
    driver["sslmode"] = "verify-full"
    files.setdefault("sslrootcert", "system")


def _server_settings(given: Mapping[str, str]) -> dict[str, str]:
    name = given.get("application_name") or given.get("fallback_application_name") or "threadkeeper"
    return {"application_name": name} | ({"options": given["options"]} if "options" in given else {})


def _connect_seconds(given: Mapping[str, str], attempts: int) -> float | None:
    if seconds := _seconds(given, "timeout"):
        return seconds
    if "connect_timeout" not in given:
        return _CONNECT_SECONDS
    each = _whole(given, "connect_timeout", signed=True)
    # As in libpq: for each attempt, without a limit if not positive, and at least 2 seconds.
    return max(each, 2) * attempts if each > 0 else None


def _socket_options(given: Mapping[str, str]) -> dict[str, int]:
    alive = _whole(given, "keepalives") if "keepalives" in given else 1
    options = {SOCKET_OPTIONS["keepalives"]: int(alive != 0)}
    for name in given.keys() & (SOCKET_OPTIONS.keys() - {"keepalives"}):
        # As in libpq, 0 is the default of the system.
        if (value := _whole(given, name)) and (alive or name == "tcp_user_timeout"):
            options[SOCKET_OPTIONS[name]] = value
    return options


def _pooler(given: Mapping[str, str], amounts: Mapping[str, int]) -> str:
    written = _one_of(given, "pooler", *_POOLERS)
    if "pooler" in given:
        return written
    if _one_of({"pgbouncer": given.get("pgbouncer", "false").lower()}, "pgbouncer", "false", "true") == "true" or any(
        amounts.get(name) == 0 for name in _CACHES
    ):
        return "transaction"
    return written


def _one_of(given: Mapping[str, str], name: str, default: str, *others: str) -> str:
    value = given.get(name, default)
    if value not in (default, *others):
        raise ValueError(f"has {name}={value}; it must be one of: {', '.join((default, *others))}")
    return value


def _whole(given: Mapping[str, str], name: str, *, signed: bool = False) -> int:
    # As in libpq: without the underscores and the digits of other scripts that Python reads too.
    written = given[name].strip()
    value = int(written) if re.fullmatch(r"[+-]?[0-9]{1,18}", written) else None
    if value is None or (value < 0 and not signed):
        raise ValueError(f"has {name}={given[name]}; it must be a whole number")
    return value


def _seconds(given: Mapping[str, str], name: str) -> float | None:
    if name not in given:
        return None
    try:
        value = float(given[name])
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"has {name}={given[name]}; it must be a number of seconds above 0")
    return value
