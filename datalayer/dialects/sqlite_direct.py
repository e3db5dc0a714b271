"""A read of a SQLite file through the driver alone, and what every connection to a file has in common.

SQLAlchemy is not imported: for a command that reads a few rows, its import takes longer than everything else.
"""

import contextlib
import os
import sqlite3
from typing import Any
from urllib.parse import quote

# A short wait is enough, because the writer retries. SQLAlchemy waits 2 s when it closes a connection; a thread that
# waits in SQLite for longer would be leaked, together with a task that never ends.
WAIT = "PRAGMA busy_timeout=1000"
PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    # Deleted data is overwritten and not only unlinked.
    "PRAGMA secure_delete=ON",
    WAIT,
)


def keep_private(file: str) -> None:
    """Create the file, so that only its owner can read it.

    SQLite creates a file that everyone can read, and gives the files beside it the same mode. If the file exists or
    cannot be created, SQLite itself opens it or reports the error.
    """
    if not file.startswith("file:"):
        with contextlib.suppress(OSError, ValueError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement that only reads.

    Raises:
        ValueError: the URL has parameters or percent signs, which SQLAlchemy interprets.
        sqlite3.Error: the file does not exist, or as from sqlite3.
    """
    path = url.removeprefix("sqlite:///")
    if "?" in path or "%" in path:
        raise ValueError("this URL needs SQLAlchemy")
    # The file is not created if it does not exist.
    connection = sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, isolation_level=None)
    try:
        for pragma in PRAGMAS:
            connection.execute(pragma)
        return connection.execute(statement).fetchall()
    finally:
        connection.close()
