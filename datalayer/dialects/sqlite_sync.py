"""The engine for a library that has no asyncio (`datalayer.jobs`), on a file of its own beside the database.

In the same file, each step of a job would take the one lock for writing twice: measured, the chat's own writes waited
80 to 690 ms (95 %), and up to 2.3 s (ADR 0030).
"""

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url

from datalayer.dialects.sqlite_direct import keep_private

_WAIT = "PRAGMA busy_timeout=30000"
# A step that a power failure takes back is only repeated.
_PRAGMAS = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", "PRAGMA foreign_keys=ON", "PRAGMA secure_delete=ON")


def sync_file(url: str) -> Path:
    """The file beside the database of this URL: `threadkeeper-jobs.db` beside `threadkeeper.db`."""
    file = Path(make_url(url).database or "")
    return file.with_name(f"{file.stem}-jobs{file.suffix}")


def create_sync_engine(url: str) -> Engine:
    file = sync_file(url)
    engine = create_engine(URL.create("sqlite", database=str(file)))
    event.listen(engine, "do_connect", lambda *_: keep_private(str(file)))
    event.listen(engine, "connect", _on_connect)
    return engine


def _on_connect(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = "IMMEDIATE"
    connection.execute(_WAIT)
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    lend_unixepoch(connection)


def lend_unixepoch(connection: Any) -> bool:
    """Give a SQLite before 3.42 the function `unixepoch('subsec')`, in which its own one is NULL; gives whether it was
    needed."""
    try:
        (seconds,) = connection.execute("SELECT unixepoch('subsec')").fetchone()
    except sqlite3.OperationalError:
        seconds = None
    if seconds is not None:
        return False
    connection.create_function("unixepoch", 1, lambda _modifier: time.time())
    return True
