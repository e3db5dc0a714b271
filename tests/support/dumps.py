"""Runs the commands of Postgres that a backup prints, as an operator does: in a shell, with the password apart."""

import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from tests.support import missing
from tests.support.postgres import find_binaries


def run_command(command: str, url: str) -> None:
    """Run a command for the database of this URL. Without pg_dump, the test is skipped, or fails if CI is set."""
    password = urlsplit(url).password or ""
    assert password
    assert password not in command
    folder = find_binaries()
    found = folder is not None and (folder / "pg_dump").exists()
    places = [str(folder)] if found else []
    path = os.pathsep.join([*places, os.environ.get("PATH", os.defpath)])
    if shutil.which("pg_dump", path=path) is None:
        missing.skip_or_fail("PG_DUMP: the tests of backups of Postgres were skipped; install the package postgresql")
    done = subprocess.run(
        command,
        shell=True,
        env={"PATH": path, "PGPASSWORD": password, "HOME": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
