"""Microsoft's own emulator of Azure Blob Storage, from npm, in a folder outside of the repository.

`python -m tests.support.azurite` installs it.
"""

import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.kept_process import KeptProcess, free_port
from tests.support.npm import installed

_MAIN = Path("node_modules/azurite/dist/src/blob/main.js")


@dataclass(frozen=True)
class AzuriteServer:
    """A running server: its account, the key of the account, and its URL."""

    account: str
    key: str
    port: int


def install() -> Path:
    """The script that starts Azurite. Installs Azurite with npm if it is missing.

    Raises:
        NpmMissing: Azurite cannot be installed.
    """
    # The version of Azurite depends on that of Node.js; npm selects it.
    return installed("azurite", ["install", "azurite@3"], _MAIN) / _MAIN


@contextmanager
def azurite(directory: Path) -> Iterator[AzuriteServer]:
    """A server that stores everything in memory.

    Raises:
        NpmMissing: Azurite cannot be installed.
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
