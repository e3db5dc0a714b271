"""Folders outside of the repository, with what the tests install: it is kept for later runs and other checkouts."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "threadkeeper-tests"


def filled(name: str, fill: Callable[[Path], None]) -> Path:
    """The folder of this name. If it is not filled yet, `fill` gets it, in one process at a time."""
    folder = _CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            fill(folder)
            (folder / "installed").touch()
    return folder
