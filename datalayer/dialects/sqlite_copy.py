"""A consistent copy of a SQLite file that others are writing to, by SQLite's online backup."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import make_url

from datalayer.dialects.sqlite_direct import keep_private


def copy_database(url: str, target: Path) -> None:
    """Copy the database of this URL into a new file, which only its owner can read.

    All pages are copied in one step: that holds a snapshot, which delays no writer, and is not begun anew when another
    process writes, as a copy in several steps is.

    Raises:
        sqlite3.Error: the file does not exist or cannot be read, or the copy cannot be written.
    """
    file = make_url(url).database or ""
    keep_private(str(target))
    with (
        closing(sqlite3.connect(f"file:{quote(file)}?mode=rw", uri=True)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy, pages=-1)
