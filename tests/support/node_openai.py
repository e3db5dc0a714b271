"""OpenAI's client for Node.js, from npm, which runs `node/client.mjs`.

`python -m tests.support.node_openai` installs it.
"""

import hashlib
from pathlib import Path

from tests.support.npm import installed

_HERE = Path(__file__).parent / "node"
SCRIPT = _HERE / "client.mjs"


def install() -> Path:
    """The folder in which the client is installed, in the version of the lock file.

    Raises:
        NpmMissing: it cannot be installed.
    """
    files = [_HERE / "package.json", _HERE / "package-lock.json"]
    digest = hashlib.sha256(files[1].read_bytes()).hexdigest()[:12]
    return installed(f"openai-{digest}", ["ci"], Path("node_modules/openai/package.json"), files)


if __name__ == "__main__":
    print(install())
