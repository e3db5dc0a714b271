"""How the application starts its own programs, which run in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


class EndsWhenIdle:
    """For a program that answers requests from its standard input: ends the process when none has come for a while.

    Signals do not end it, because a server that stops may still need answers. The end of its input does, and so the
    end of the process that started it.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._busy = threading.Lock()
        self._last = time.monotonic()
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_IGN)
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Within the block, a request is answered."""
        with self._busy:
            yield
            self._last = time.monotonic()

    def _watch(self) -> None:
        while True:
            time.sleep(max(0.01, self._last + self._seconds - time.monotonic()))
            with self._busy:
                if time.monotonic() >= self._last + self._seconds:
                    os._exit(0)
