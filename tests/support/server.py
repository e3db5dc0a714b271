"""The real application as a process with its own directory, port and environment."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

import httpx

import datalayer
from tests.support.cheap_passwords import CHEAP_HASHER
from tests.support.forks import Fork, Forks
from tests.support.plain_http import PLAIN_HTTP
from tests.support.server_forks import ServerForks
from threadkeeper.login.passwords import Passwords

if TYPE_CHECKING:
    from datalayer.chainlit_layer import ChainlitLayer

ROOT = Path(__file__).parents[2]
SERVE = (sys.executable, "-m", "threadkeeper.cli", "serve")
_READY_SECONDS = 60
_END_SECONDS = 30
# The variables that every program needs; the server inherits no other variable of the test run.
_INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "VIRTUAL_ENV")
_VARIABLES = {**{name: os.environ[name] for name in _INHERITED if name in os.environ}, "PYTHONPATH": str(ROOT)}
forks = Forks(_VARIABLES)
server_forks = ServerForks(forks, {**_VARIABLES, "PYTHONUNBUFFERED": "1"})


class ServerFailed(Exception):
    """The application did not start or end properly. The message contains its log."""


@dataclass
class AppServer:
    """`threadkeeper serve` until the end of the `with` block. Can be stopped and started again within it.

    Args:
        directory: the folder for the data, the files and the log of this server.
        environment: additional settings.
        program: the command to start; `{port}` stands for the port. None starts `serve` in a fork (`forks.py`), which
            does not measure what a new process does.
    """

    directory: Path
    database_url: str
    environment: Mapping[str, str] = field(default_factory=dict)
    program: Sequence[str] | None = SERVE

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._process: asyncio.subprocess.Process | Fork | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """The log of the server, across restarts."""
        path = self.directory / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    @property
    def process_id(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def blob_url(self) -> str:
        return f"file://{self.directory / 'blobs'}"

    def settings(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return {
            **inherited,
            "HOME": str(self.directory),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATA_DIR": str(self.directory / "data"),
            "DATABASE_URL": self.database_url,
            "BLOB_URL": self.blob_url,
            "CHAINLIT_APP_ROOT": str(self.directory / "root"),
            # Its training takes the time of both cores; its own test makes it.
            "SAMPLE_ASSISTANT": "false",
            **self.environment,
        }

    async def __aenter__(self) -> Self:
        root = self.directory / "root"
        root.mkdir(parents=True)
        # A server writes into its root and clears it, so each has its own copy of the files of the page.
        for name in (".chainlit", "public"):
            shutil.copytree(ROOT / name, root / name)
        for page in ROOT.glob("chainlit*.md"):
            shutil.copy(page, root)
        try:
            await self.start()
        except BaseException:
            await self.end_by_force()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end_by_force()
        # pytest shows this if the test fails.
        print(f"--- log of the server on port {self.port}\n{self.log}\n---")

    async def start(self) -> None:
        """Start the server and wait until `/ready` succeeds."""
        with (self.directory / "log").open("ab") as log:
            self._process = await (self._fork(log) if self.program is None else self._run(self.program, log))
        ended = asyncio.create_task(self._process.wait())
        ready = asyncio.create_task(self._ready())
        await asyncio.wait({ended, ready}, timeout=_READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if ended.done() or not ready.done():
            raise ServerFailed(f"the server did not become ready (exit status {self._process.returncode})\n{self.log}")
        ended.cancel()

    async def _fork(self, log: IO[bytes]) -> Fork:
        # The first fork waits until the libraries are imported.
        return await asyncio.to_thread(
            server_forks.serve, directory=self.directory, environment=self.settings(), log=log
        )

    async def _run(self, program: Sequence[str], log: IO[bytes]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(part.format(port=self.port) for part in program),
            cwd=self.directory,
            env=self.settings(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    async def stop(self) -> int:
        """Stop the server with SIGTERM, as an operator or an orchestrator does. Returns the exit status."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Kill the server with SIGKILL, so that none of its code runs any more."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def add_user(self, identifier: str, password: str, role: str = "user") -> str:
        """Add an account. Returns its id."""
        async with self.layer() as layer:
            # Whoever signs in first goes to the chat, and not to the first steps of a new installation.
            await layer.note_first_steps("seen")
            return (await layer.add_account(identifier, await self.hashed(password), role)).id

    async def hashed(self, password: str) -> str:
        """The hash of the password as this server computes it."""
        return await Passwords(CHEAP_HASHER if self.program is None else None).hash(password)

    @asynccontextmanager
    async def layer(self) -> "AsyncIterator[ChainlitLayer]":
        """A separate data layer on the server's database and files, to check the stored data."""
        # It imports Chainlit, which takes two seconds, and test runs of a few tests do without it.
        from threadkeeper.web.files import file_url  # noqa: PLC0415

        layer = datalayer.create_data_layer(self.database_url, self.blob_url, file_url=file_url)
        try:
            yield layer
        finally:
            await layer.close()

    async def _ready(self) -> None:
        async with httpx.AsyncClient(base_url=self.base_url, **PLAIN_HTTP) as client:
            while True:
                # Connections are refused until the server listens.
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/ready")).status_code == httpx.codes.OK:
                        return
                await asyncio.sleep(0.1)

    async def _end(self, signal_number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(signal_number)
        try:
            return await asyncio.wait_for(self._process.wait(), _END_SECONDS)
        except TimeoutError:
            await self.end_by_force()
            raise ServerFailed(f"no end {_END_SECONDS} s after {signal_number.name}\n{self.log}") from None

    async def end_by_force(self) -> None:
        """Kill the server if it is still running."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
