"""Finds a folder in memory for files that tests keep for seconds, which need no sync to a disk.

A database is copied there in a tenth of the time, and a commit on SQLite does not wait for a disk. A killed process
loses no more data than on a disk.
"""

import shutil
from pathlib import Path

_FOLDER = Path("/dev/shm")


def folder_in_memory(*, room_bytes: int) -> Path | None:
    """A folder with at least this much space; None if there is none, as in many containers."""
    return _FOLDER if _FOLDER.is_dir() and shutil.disk_usage(_FOLDER).free > room_bytes else None
