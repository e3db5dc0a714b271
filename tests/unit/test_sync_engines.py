"""The engines for the store of the steps of jobs: the file beside a SQLite database, and the parameters for psycopg."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from datalayer.dialects.postgresql_sync import arguments_of
from datalayer.dialects.postgresql_url import parse_url
from datalayer.dialects.sqlite_sync import create_sync_engine, lend_unixepoch, sync_file

_HAS_SUBSECONDS = (3, 42)


def arguments(url: str, **environment: str) -> dict[str, Any]:
    given = arguments_of(parse_url(url, environment))
    fixed = {"prepare_threshold": None, "gssencmode": "disable", "keepalives": 1}
    assert given.items() >= fixed.items()
    return {name: value for name, value in given.items() if name not in fixed}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://ann:p%40ss@db.example/chat",
            {"user": "ann", "password": "p@ss", "dbname": "chat", "host": "db.example", "port": "5432"},
        ),
        (
            "postgresql://ann@a:1,b:2/chat?load_balance_hosts=random&target_session_attrs=read-write&connect_timeout=7",
            {
                "host": "a,b",
                "port": "1,2",
                "load_balance_hosts": "random",
                "target_session_attrs": "read-write",
                "connect_timeout": 7,
            },
        ),
        (
            "postgresql://ann@h/chat?sslmode=verify-full&sslrootcert=system&application_name=chat&options=-c%20a%3Db",
            {"sslmode": "verify-full", "sslrootcert": "system", "application_name": "chat", "options": "-c a=b"},
        ),
        (
            "postgresql://ann@h/chat?tcp_user_timeout=9&keepalives_idle=8&pooler=transaction&statement_cache_size=0",
            {"tcp_user_timeout": 9, "keepalives_idle": 8, "application_name": "threadkeeper"},
        ),
        ("postgresql:///chat?host=/run/pg&port=6", {"host": "/run/pg", "port": "6", "dbname": "chat"}),
    ],
)
def test_psycopg_gets_the_parameters_of_the_url(url: str, expected: dict[str, Any]) -> None:
    assert arguments(url).items() >= expected.items()


def test_parameters_of_the_first_driver_alone_are_left_out() -> None:
    given = arguments("postgresql://ann@h/chat?pooler=session&command_timeout=3&statement_cache_size=0")
    assert given.keys() <= {"user", "dbname", "host", "port", "application_name", "connect_timeout", "passfile"}


def test_without_a_host_the_same_hosts_are_tried(tmp_path: Path) -> None:
    given = arguments("postgresql:///chat", PGPASSFILE=str(tmp_path / "pass"), PGUSER="ann")
    assert given["host"].endswith("localhost")
    assert (given["user"], given["passfile"]) == ("ann", str(tmp_path / "pass"))


def test_the_function_of_time_is_lent_to_an_older_sqlite() -> None:
    connection = sqlite3.connect(":memory:")
    assert lend_unixepoch(connection) is (sqlite3.sqlite_version_info < _HAS_SUBSECONDS)
    connection.execute("CREATE TABLE made (at INTEGER NOT NULL DEFAULT (unixepoch('subsec') * 1000), what TEXT)")
    connection.execute("INSERT INTO made (what) VALUES ('x')")
    ((at,),) = connection.execute("SELECT at FROM made").fetchall()
    assert abs(at / 1000 - time.time()) < 5
    connection.close()


def _missing(_modifier: str) -> float:
    raise sqlite3.OperationalError("no such function")


@pytest.mark.parametrize(("function", "is_needed"), [(lambda _: None, True), (_missing, True), (lambda _: 1.5, False)])
def test_only_a_function_that_gives_nothing_is_replaced(function: Callable[[str], Any], is_needed: bool) -> None:
    connection = sqlite3.connect(":memory:")
    connection.create_function("unixepoch", 1, function)
    assert lend_unixepoch(connection) is is_needed
    ((seconds,),) = connection.execute("SELECT unixepoch('subsec')").fetchall()
    assert (seconds == 1.5) is not is_needed
    connection.close()


def test_steps_are_stored_in_a_private_file_beside_the_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'chat.db'}"
    assert sync_file(url) == tmp_path / "chat-jobs.db"
    engine = create_sync_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE one (number INTEGER)"))
        modes = {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()}
    engine.dispose()
    assert modes.keys() >= {"chat-jobs.db"}
    assert set(modes.values()) == {"0o600"}
    assert "chat.db" not in modes
