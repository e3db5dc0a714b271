"""Microsoft's own emulator of Azure Blob Storage, from npm, in a folder outside of the repository.

`python -m tests.support.azurite` installs it.
"""

import base64
import fcntl
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.kept_process import KeptProcess, free_port

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "threadkeeper-tests"
_INSTALL_SECONDS = 300
_MAIN = Path("node_modules/azurite/dist/src/blob/main.js")


class AzuriteMissing(Exception):
    """Node.js is missing, or npm could not install Azurite."""


@dataclass(frozen=True)
class AzuriteServer:
    """A running server: its account, the key of the account, and its URL."""

    account: str
    key: str
    port: int


def install() -> Path:
    """The script that starts Azurite. Installs Azurite with npm if it is missing.

    Raises:
        AzuriteMissing: Azurite cannot be installed.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise AzuriteMissing("install the packages nodejs and npm")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    # The version of Azurite depends on that of Node.js; npm selects it.
    folder = _CACHE / f"azurite-node-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            command = [
                npm,
                "install",
                "--prefix",
                str(folder),
                "--no-audit",
                "--no-fund",
                "--loglevel=error",
                "azurite@3",
            ]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS, cwd=folder
                )
            except subprocess.TimeoutExpired:
                raise AzuriteMissing(f"npm gave no answer within {_INSTALL_SECONDS} seconds") from None
            if done.returncode or not (folder / _MAIN).exists():
                raise AzuriteMissing(f"npm could not install it: {done.stderr.strip()[-500:]}")
            (folder / "installed").touch()
    return folder / _MAIN


@contextmanager
def azurite(directory: Path) -> Iterator[AzuriteServer]:
    """A server that stores everything in memory.

    Raises:
        AzuriteMissing: Azurite cannot be installed.
    """
    script = install()
    server = AzuriteServer("keeper", base64.b64encode(secrets.token_bytes(64)).decode(), free_port())
    command = [
        *("node", str(script), "--blobHost", "127.0.0.1", "--blobPort", str(server.port)),
        # The SDK is newer than the API versions that Azurite declares.
        *("--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"),
    ]
    accounts = {"AZURITE_ACCOUNTS": f"{server.account}:{server.key}"}
    with KeptProcess(command, port=server.port, log=directory / "azurite.log", environment=accounts):
        yield server


if __name__ == "__main__":
    print(install())
