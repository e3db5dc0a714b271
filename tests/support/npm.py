"""Packages from npm, in a folder outside of the repository."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.kept_folders import filled

_INSTALL_SECONDS = 300


class NpmMissing(Exception):
    """Node.js is missing, or npm could not install a package."""


def installed(name: str, arguments: Sequence[str], main: Path, files: Sequence[Path] = ()) -> Path:
    """The folder of a package for this version of Node.js; npm installs it if it is missing.

    Args:
        name: of the folder.
        arguments: of npm.
        main: a file of the package, relative to the folder.
        files: are copied into the folder before.

    Raises:
        NpmMissing: it cannot be installed.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NpmMissing("install the packages nodejs and npm")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def fill(folder: Path) -> None:
        for file in files:
            shutil.copy(file, folder)
        _run([npm, *arguments, "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error"], folder)
        if not (folder / main).exists():
            raise NpmMissing(f"npm did not install {main}")

    return filled(f"{name}-node-{version}", fill)


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS, cwd=folder
        )
    except subprocess.TimeoutExpired:
        raise NpmMissing(f"npm gave no answer within {_INSTALL_SECONDS} seconds") from None
    if done.returncode:
        raise NpmMissing(f"npm could not install it: {done.stderr.strip()[-500:]}")
