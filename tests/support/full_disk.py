"""A program that fills the disk under a SQLite database, frees space again, and prints the results of the writes.

It is a separate process, because its limit (a private small file system, or a limit on the size of its files) must not
affect other tests. `command` returns the most realistic limit that the machine allows.
"""

import asyncio
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from datalayer import create_data_layer
from tests.support.many_writers import ManyWriters

_MEGABYTE = 1024**2
_MOUNTED = ("unshare", "--mount", "--map-root-user", "sh", "-c", 'mount -t tmpfs -o size=7m tmpfs "$0" && exec "$@"')


def command(folder: Path) -> tuple[str, list[str]]:
    """The description of the limit, and the command line of the program with this limit and folder."""
    program = [sys.executable, "-m", "tests.support.full_disk"]
    if shutil.which("unshare"):
        mounts = subprocess.run([*_MOUNTED, str(folder), "true"], capture_output=True, check=False)
        if mounts.returncode == 0:
            return "a file system of 7 MB", [*_MOUNTED, str(folder), *program, str(folder), "mounted"]
    return "a limit of 2 MB on the size of a file", [*program, str(folder), "limited"]


async def fill(folder: Path, *, mounted: bool) -> None:
    ballast = folder / "ballast"
    if mounted:
        ballast.write_bytes(bytes(3 * _MEGABYTE))
    layer = create_data_layer(f"sqlite:///{folder / 'chat.db'}", patience_seconds=1)
    await layer.migrate()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        # Python ignores the signal SIGXFSZ, so a write fails as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * _MEGABYTE, most))
    writers = ManyWriters(layer)
    async with writers.writing():
        while not writers.failed:
            await asyncio.sleep(0.01)
        if mounted:
            ballast.unlink()
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        await writers.more_acknowledged(100)
    await layer.close()
    witness = create_data_layer(f"sqlite:///{folder / 'chat.db'}")
    counts = await writers.compared_with(witness)
    await witness.close()
    print(json.dumps(vars(counts)))


if __name__ == "__main__":
    asyncio.run(fill(Path(sys.argv[1]), mounted=sys.argv[2] == "mounted"))
