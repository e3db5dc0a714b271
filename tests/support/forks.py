"""Programs of the application as processes of their own, without the seconds in which each imports its libraries.

One process has imported them and starts a fork of itself for each command and each server. A fork has the directory,
the settings, the output and the exit code of a new process. It hashes passwords at the least cost, and finds the
threshold of a training with few questions. It imports Chainlit, which reads settings at its import, and the modules
that import Chainlit. Its aiohttp is the real one (`threadkeeper/chainlit_imports.py` puts a stand-in into a new
process), because `openai` has imported it. It looks for reference cycles less often, and does not clear its memory at
its end. `server_forks.py` imports Chainlit in advance where that changes nothing. Which modules a program imports, and
when, is tested with new processes in `tests/integration/test_startup.py` and `test_cli.py`.
"""

import asyncio
import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from tests.support.cheap_calibration import calibrate_cheaply
from tests.support.cheap_passwords import hash_cheaply

# None of these reads a setting when it is imported, nor starts a thread.
_LIBRARIES = (
    *("aiosqlite", "argon2", "asyncpg", "cachetools", "genai_prices", "httpx", "httpx2", "jinja2", "jwt"),
    *("latex2mathml.converter", "markdown_it", "openai", "prometheus_client", "pydantic_settings", "pygments"),
    *("rich.progress", "rich.table", "sqlalchemy.dialects.postgresql.asyncpg", "sqlalchemy.dialects.sqlite.aiosqlite"),
    *("sqlalchemy.ext.asyncio", "typer", "ua_parser", "uvicorn", "uvloop", "websockets"),
    # Imported by Chainlit.
    *("aiofiles", "asyncer", "bidict", "chevron", "dataclasses_json", "fastapi", "filetype", "mcp"),
    *("opentelemetry.sdk.trace", "packaging.requirements", "psutil", "pydantic.v1", "python_multipart", "requests"),
    *("syncer", "tomli", "watchfiles", "yaml"),
    # Imported by a server when it listens, and with the first answer.
    *("anyio._backends._asyncio", "genai_prices.data", "uvicorn.protocols.http.h11_impl"),
    "uvicorn.protocols.websockets.websockets_sansio_impl",
)
# Packages of ours without a module that imports Chainlit, nor a library that few programs use.
_PACKAGES = (
    *("datalayer.accounts", "datalayer.assistants", "datalayer.backup", "datalayer.billing", "datalayer.chat_models"),
    *("datalayer.dialects", "datalayer.files", "datalayer.history", "datalayer.imports", "datalayer.keys"),
    "datalayer.knowledge",
    *("datalayer.organizing", "datalayer.records", "datalayer.review", "datalayer.schema", "datalayer.usage"),
    *("datalayer.writes", "threadkeeper.chat", "threadkeeper.commands", "threadkeeper.formulas"),
    *("threadkeeper.language", "threadkeeper.login", "threadkeeper.settings", "threadkeeper.web.rendering"),
)
_LEFT_TO_THE_FORKS = ("chainlit", "engineio", "literalai", "socketio", "traceloop")
COMMAND_SECONDS = 240
OBJECTS_BETWEEN_COLLECTIONS = 10_000
"""New objects until Python looks for reference cycles: 700 by default, which takes a twentieth of the CPU time."""
_NUMBER = struct.Struct("!q")


class ForksBroken(Exception):
    """The process with the libraries has ended, or cannot be forked."""


class Fork:
    """A running program: the part of `asyncio.subprocess.Process` that the tests use, for any event loop or none."""

    def __init__(self, channel: socket.socket) -> None:
        """The channel gives the id of the process, and its status when it ends."""
        self._channel = channel
        self.pid = self._read()
        self._code: int | None = None
        channel.setblocking(False)

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while the program runs."""
        if self._code is None:
            with contextlib.suppress(BlockingIOError):
                self._end()
        return self._code

    async def wait(self) -> int:
        # Tasks of several event loops may wait, and each loop can watch a socket for one of them only.
        while (code := self.returncode) is None:
            await asyncio.sleep(0.01)
        return code

    def wait_blocking(self) -> int:
        self._channel.setblocking(True)
        return self._end()

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            # As `Popen` does: it may have ended, and its parent may not have said so yet.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _end(self) -> int:
        self._code = os.waitstatus_to_exitcode(self._read())
        self._channel.close()
        return self._code

    def _read(self) -> int:
        message = self._channel.recv(_NUMBER.size)
        if not message:
            self._channel.close()
            raise ForksBroken("the process that forks the programs has ended; its error is in the output of pytest")
        return int(_NUMBER.unpack(message)[0])


class Forks:
    """The process with the libraries. The first program starts it; `close` ends it and all programs that still run."""

    def __init__(
        self, environment: Mapping[str, str], libraries: Sequence[str] = _LIBRARIES, packages: Sequence[str] = _PACKAGES
    ) -> None:
        """The environment in which the libraries, and all modules of these packages, are imported."""
        self._environment, self._imported = environment, (",".join(libraries), ",".join(packages))
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | Fork | None = None

    def start(
        self, module: str, arguments: Sequence[str], *, directory: Path, environment: Mapping[str, str], log: IO[bytes]
    ) -> Fork:
        """Start `python -m module` with its output and its errors in the log."""
        with Path(os.devnull).open("rb") as nothing:
            return self._fork([module, *arguments], directory, environment, (nothing, log, log))

    def run(
        self, module: str, arguments: Sequence[str], *, directory: Path, environment: Mapping[str, str], given: str
    ) -> subprocess.CompletedProcess[str]:
        """The result of `python -m module`. A command that takes four minutes ends with the exit code -SIGALRM."""
        command = [module, *arguments]
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            stdin.write(given.encode())
            stdin.seek(0)
            fork = self._fork(command, directory, environment, (stdin, output, errors), seconds=COMMAND_SECONDS)
            code = fork.wait_blocking()
            output.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(command, code, output.read().decode(), errors.read().decode())

    def start_forks(
        self, module: str, *, directory: Path, environment: Mapping[str, str], control: socket.socket, log: IO[bytes]
    ) -> Fork:
        """Start `python -m module 0`, which serves forks of its own on the control, its standard input.

        It ends, and its forks, when the other end of the control is closed.
        """
        return self._fork([module, "0"], directory, environment, (control, log, log), ends_itself=True)

    def close(self) -> None:
        with self._lock:
            if self._process is not None:
                self._control.close()
                if isinstance(self._process, Fork):
                    self._process.wait_blocking()
                else:
                    self._process.wait(timeout=COMMAND_SECONDS)
                self._process = None

    def _fork(
        self,
        command: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        streams: Sequence[IO[bytes] | socket.socket],
        *,
        seconds: int = 0,
        ends_itself: bool = False,
    ) -> Fork:
        wanted = {
            "command": command,
            "directory": str(directory),
            "environment": dict(environment),
            "seconds": seconds,
            "ends_itself": ends_itself,
        }
        ours, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as request:
            request.write(json.dumps(wanted).encode())
            request.seek(0)
            with self._lock:
                if self._process is None:
                    self._start_process()
                descriptors = [*(stream.fileno() for stream in streams), request.fileno(), theirs.fileno()]
                socket.send_fds(self._control, [b"x"], descriptors)
        return Fork(ours)

    def _start_process(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), *self._imported],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd=Path(__file__).parents[2],
                env=self._environment,
            )


def import_all(libraries: Sequence[str], packages: Sequence[str]) -> None:
    """Import the libraries, and all modules of the packages; the forks share them.

    Raises:
        ForksBroken: one of them started a thread.
    """
    for name in libraries:
        importlib.import_module(name)
    for name in packages:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    if threading.active_count() > 1:
        raise ForksBroken(f"a library started a thread, which a fork would not have: {threading.enumerate()}")


def serve(control: socket.socket) -> None:
    """Fork for each request, and tell when a fork ends. In the fork, this returns when the program may run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    woken, waker = socket.socketpair()
    for one in (woken, waker):
        one.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno())
    running: dict[int, socket.socket] = {}
    end_themselves: set[int] = set()
    with selectors.DefaultSelector() as selector:
        for one in (control, woken):
            selector.register(one, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if woken in ready:
                woken.recv(4096)
                _tell_ended(running)
            if control in ready:
                message, descriptors, *_ = socket.recv_fds(control, 1, 5)
                if not message:
                    for process_id in running:
                        if process_id not in end_themselves:
                            os.kill(process_id, signal.SIGKILL)
                        os.waitpid(process_id, 0)
                    sys.exit()
                *streams, request, channel = descriptors
                with os.fdopen(request, encoding="utf-8") as file:
                    wanted = json.load(file)
                status = socket.socket(fileno=channel)
                ends_itself = wanted.pop("ends_itself")
                process_id = os.fork()
                if process_id == 0:
                    break
                status.sendall(_NUMBER.pack(process_id))
                running[process_id] = status
                if ends_itself:
                    end_themselves.add(process_id)
                for stream in streams:
                    os.close(stream)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for one in (control, woken, waker, status, *running.values()):
        one.close()
    _become(streams, **wanted)


def _tell_ended(running: dict[int, socket.socket]) -> None:
    while running:
        process_id, status = os.waitpid(-1, os.WNOHANG)
        if process_id == 0:
            return
        with running.pop(process_id) as channel, contextlib.suppress(BrokenPipeError):
            channel.sendall(_NUMBER.pack(status))


def _become(
    streams: Sequence[int], *, command: Sequence[str], directory: str, environment: Mapping[str, str], seconds: int
) -> None:
    os.setsid()
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
    for stream in streams:
        os.close(stream)
    signal.alarm(seconds)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    if environment.get("PYTHONUNBUFFERED"):
        out: Any = sys.stdout
        out.reconfigure(line_buffering=True)
    sys.path[0] = directory
    sys.argv[:] = command


def run_program(module: str) -> NoReturn:
    """Run the program, and end without what Python does last: it takes three quarters of the CPU time of a command.

    Python would look at each object of the libraries, and so copy their memory, which the fork shares with its parent.
    """
    code: object = None
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
    except Exception:
        sys.excepthook(*sys.exc_info())
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    # What a program left to its end: its threads, what it registered, and its output.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    import_all(*(names.split(",") if names else [] for names in sys.argv[2:]))
    if too_early := sys.modules.keys() & set(_LEFT_TO_THE_FORKS):
        raise ForksBroken(f"{', '.join(sorted(too_early))} must be imported by each fork: it reads its settings")
    hash_cheaply()
    calibrate_cheaply()
    serve(socket.socket(fileno=int(sys.argv[1])))
    run_program(sys.argv[0])
