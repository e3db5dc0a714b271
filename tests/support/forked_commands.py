"""Commands of the application as processes of their own, without the half second in which each imports its libraries.

One process has imported them and starts a fork of itself for each command. A fork has the directory, the settings and
the exit code of a new process, and imports the modules of the command itself.
"""

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

# Commands import no other slow modules. None of these reads a setting when it is imported, nor starts a thread.
_IMPORTED = (
    "aiosqlite",
    "argon2",
    "asyncpg",
    "datalayer.billing.billing",
    "datalayer.store",
    "httpx",
    "pydantic_settings",
    "rich.progress",
    "rich.table",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlalchemy.ext.asyncio",
    "typer",
)
_SECONDS = 60


class ForkedCommands:
    """The process with the libraries. The first command starts it; `close` ends it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """The environment in which the libraries are imported."""
        self._environment = environment
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self, module: str, arguments: Sequence[str], *, directory: Path, environment: Mapping[str, str], given: str
    ) -> subprocess.CompletedProcess[str]:
        """The result of `python -m module`. A command that takes a minute ends with the exit code -SIGALRM."""
        command = [module, *arguments]
        request = {"command": command, "directory": str(directory), "environment": environment, "given": given}
        with self._lock:
            if self._process is None:
                self._start()
            self._channel.write(f"{json.dumps(request)}\n")
            self._channel.flush()
            answer = json.loads(self._channel.readline())
        return subprocess.CompletedProcess(command, **answer)

    def close(self) -> None:
        with self._lock:
            if self._process is not None:
                self._channel.close()
                self._process.wait(timeout=_SECONDS)
                self._process = None

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd=Path(__file__).parents[2],
                env=self._environment,
            )
            self._channel = ours.makefile("rw", encoding="utf-8")


def _serve(channel: socket.socket) -> None:
    """Fork for each request. In the fork, this returns when the command may run."""
    with channel, channel.makefile("rw", encoding="utf-8") as requests:
        for line in requests:
            request = json.loads(line)
            with (
                tempfile.TemporaryFile() as given,
                tempfile.TemporaryFile() as output,
                tempfile.TemporaryFile() as errors,
            ):
                given.write(request["given"].encode())
                given.seek(0)
                fork = os.fork()
                if fork == 0:
                    for descriptor, file in enumerate((given, output, errors)):
                        os.dup2(file.fileno(), descriptor)
                    _become(**request)
                    return
                status = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
                texts = []
                for file in (output, errors):
                    file.seek(0)
                    texts.append(file.read().decode())
            requests.write(f"{json.dumps({'returncode': status, 'stdout': texts[0], 'stderr': texts[1]})}\n")
            requests.flush()
    sys.exit()


def _become(*, command: Sequence[str], directory: str, environment: Mapping[str, str], given: str) -> None:
    signal.alarm(_SECONDS)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = command


if __name__ == "__main__":
    for name in _IMPORTED:
        importlib.import_module(name)
    _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
