"""The engine for a library that has no asyncio (`datalayer.jobs`): psycopg, with the parameters of the same URL.

Statements get no names and sessions no settings, so that every mode of a pooler is right (ADR 0028).
"""

import sys
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine

from datalayer.dialects.postgresql_url import SOCKET_OPTIONS, PostgresURL, parse_url
from datalayer.errors import ConfigurationError

# Those that asyncpg tries; libpq has one, which depends on how it was built.
_DEFAULT_HOSTS = (
    "localhost" if sys.platform == "win32" else "/run/postgresql,/var/run/postgresql,/var/pgsql_socket,/tmp,localhost"
)


def create_sync_engine(url: str) -> Engine:
    """An engine that holds four connections at most, and none when it is disposed of."""
    try:
        parsed = parse_url(url)
    except ValueError as error:
        raise ConfigurationError(f"the Postgres URL {error}") from None
    return create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(**arguments_of(parsed)),
        pool_size=2,
        max_overflow=2,
        pool_timeout=30,
        pool_pre_ping=True,
    )


def arguments_of(url: PostgresURL) -> dict[str, Any]:
    """The arguments of `psycopg.connect`, which are those of libpq."""
    names = {"database": "dbname"}
    given: dict[str, Any] = {names.get(name, name): value for name, value in url.login.items()}
    given["host"] = ",".join(host or _DEFAULT_HOSTS for host, _ in url.servers)
    if url.passfile is not None:
        given["passfile"] = str(url.passfile)
    given["port"] = ",".join(str(port) for _, port in url.servers)
    if url.shuffled:
        given["load_balance_hosts"] = "random"
    if url.attempt_seconds is not None:
        given["connect_timeout"] = max(2, round(url.attempt_seconds))
    given |= {
        parameter: url.socket_options[name] for parameter, name in SOCKET_OPTIONS.items() if name in url.socket_options
    }
    return (
        given
        | dict(url.driver)
        | dict(url.files)
        | dict(url.server_settings)
        | {
            "gssencmode": "disable",
            "prepare_threshold": None,
        }
    )
