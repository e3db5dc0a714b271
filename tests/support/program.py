"""Programs of tests in processes of their own, which are forks. `python -m tests.support.program TEXT ARGUMENTS`.

A new process would take two seconds of CPU time to import the library.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.forks import Fork
from tests.support.server import ROOT, forks

PROGRAM = "tests.support.program"
"""The module that runs a text, which is its first argument."""


def start(module: str, arguments: Sequence[str], *, directory: Path, log: Path) -> Fork:
    """Start `python -m module`; its output and its errors go to the log."""
    with log.open("ab") as output:
        return forks.start(module, arguments, directory=directory, environment=_environment(directory), log=output)


def run(module: str, arguments: Sequence[str], *, directory: Path) -> subprocess.CompletedProcess[str]:
    """The result of `python -m module`."""
    return forks.run(module, arguments, directory=directory, environment=_environment(directory), given="")


def _environment(directory: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONUNBUFFERED": "1"}


if __name__ == "__main__":
    exec(compile(sys.argv.pop(1), "program", "exec"), {"__name__": "__main__"})
