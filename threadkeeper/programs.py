"""How the application starts its own programs, which run in processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAM = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from {module} import main
main()
"""
_ROOT = Path(__file__).parents[1]


def command(module: str, *arguments: str, isolated: bool = True) -> list[str]:
    """The command that runs `main` of a module with these arguments. The package is found where this one is.

    Args:
        isolated: whether PYTHONPATH is left out too; the working directory always is.
    """
    return [sys.executable, "-I" if isolated else "-P", "-c", _PROGRAM.format(module=module), str(_ROOT), *arguments]
