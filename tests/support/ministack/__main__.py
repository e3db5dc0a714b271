"""Runs pytest with ministack as the server for DynamoDB: `python -m tests.support.ministack -q tests/contracts`.

ministack is installed into a folder of its own, outside of the repository: it needs another version of botocore than
we. Without arguments, it is only installed.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tests.support.dynamodb_server import CREDENTIALS, REGION
from tests.support.kept_process import KeptProcess, free_port
from tests.support.npm import CACHE

_LOCK = Path(__file__).parent / "requirements.lock"


def install() -> Path:
    """The program of the server, in the versions of the lock file. It is installed if it is missing.

    Raises:
        subprocess.CalledProcessError: pip could not install it, and has said why.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = CACHE / f"ministack-{hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:12]}-python-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            venv.create(folder / "venv", clear=True, with_pip=True)
            pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--no-deps", "-r", str(_LOCK)], check=True)
            (folder / "installed").touch()
    return folder / "venv/bin/ministack"


def main(arguments: list[str]) -> int:
    """Run pytest with these arguments; gives its exit status."""
    port, program = free_port(), install()
    if not arguments:
        return 0
    url = f"dynamodb://test?region={REGION}&endpoint_url=http://127.0.0.1:{port}"
    settings = {"GATEWAY_PORT": str(port), "LOG_LEVEL": "WARNING"}
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "ministack.log")
        with KeptProcess([str(program)], port=port, log=log, environment=settings):
            environment = {**os.environ, **CREDENTIALS, "TEST_DYNAMODB_URL": url}
            status = subprocess.run([sys.executable, "-m", "pytest", *arguments], env=environment, check=False)
        if status.returncode:
            print(log.read_text(errors="replace")[-5000:])
        return status.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
