"""Runs pytest with ministack as the server for DynamoDB: `python -m tests.support.ministack -q tests/contracts`.

ministack is installed into a folder of its own, outside of the repository: it needs another version of botocore than
we. Without arguments, it is only installed.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tests.support.dynamodb_server import CREDENTIALS, REGION
from tests.support.kept_folders import filled
from tests.support.kept_process import KeptProcess, free_port

_LOCK = Path(__file__).parent / "requirements.lock"


def install() -> Path:
    """The program of the server, in the versions of the lock file. It is installed if it is missing.

    Raises:
        subprocess.CalledProcessError: pip could not install it, and has said why.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:12]
    return filled(f"ministack-{digest}-python-{version}", _fill) / "venv/bin/ministack"


def _fill(folder: Path) -> None:
    venv.create(folder / "venv", clear=True, with_pip=True)
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "-r", str(_LOCK)], check=True)


def main(arguments: list[str]) -> int:
    """Run pytest with these arguments; gives its exit status."""
    program = install()
    if not arguments:
        return 0
    port = free_port()
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
