"""Servers as forks of a process that has imported Chainlit, and our modules that import it: half of a start.

Chainlit reads variables and files when it is imported. The process is told by `os.environ` itself which variables were
read, and a server that has another value for one of them, its own `.env` or its own `config.toml` is a fork of the
process without Chainlit. The folder of Chainlit, which each server has for itself, is `root` in the directory of the
process, and so in the directory of each fork.

A server makes its routes with the first request for one of them, which takes up to 0.2 s of CPU time. Here they are
made once.

A server also makes its copy of Chainlit's page at its first start. Here it is made once, and each server has links to
it.
"""

import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from tests.support import forks
from tests.support.forks import Fork, Forks, ForksBroken
from tests.support.in_memory import folder_in_memory

_FOLDER = "root"
_APP_ROOT = "CHAINLIT_APP_ROOT"
_CONFIG = Path(_FOLDER, ".chainlit", "config.toml")
_ENV_FILE = ".env"
_NAMES = "names.json"
_PAGE = "frontend"
_PAGE_BYTES = 256 * 1024**2
# Reads the time zone when it is imported.
_LIBRARIES = ("babel.dates",)
# Whose modules a server imports at its start, or with the first question.
_PACKAGES = ("threadkeeper.conversation", "threadkeeper.gateway", "threadkeeper.jobs", "threadkeeper.web")
_ROOT = Path(__file__).parents[2]


class ServerForks(Forks):
    """The process with Chainlit: a fork of the process with the libraries. The first server starts it."""

    def __init__(self, parent: Forks, environment: Mapping[str, str]) -> None:
        """The environment in which Chainlit is imported."""
        super().__init__({**environment, _APP_ROOT: _FOLDER})
        self._parent = parent
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def serve(self, *, directory: Path, environment: Mapping[str, str], log: IO[bytes]) -> Fork:
        """Start `threadkeeper serve` with its output and its errors in the log."""
        parent = self if self.would_import_the_same(directory, environment) else self._parent
        page = Path(environment["DATA_DIR"], _PAGE)
        if self._folder is not None and not page.exists():
            # As the server creates it.
            page.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copytree(Path(self._folder.name, _PAGE), page, copy_function=_link_or_copy)
        return parent.start("threadkeeper.cli", ["serve"], directory=directory, environment=environment, log=log)

    def would_import_the_same(self, directory: Path, environment: Mapping[str, str]) -> bool:
        """Whether Chainlit would read at its import, by a server, what it read in the process with Chainlit."""
        with self._lock:
            if self._process is None:
                self._start_process()
        wanted = dict(environment)
        root = wanted.pop(_APP_ROOT, None)
        return (
            root == str(directory / _FOLDER)
            and (directory / _CONFIG).read_bytes() == self._config
            and not (directory / _ENV_FILE).exists()
            and all(wanted.get(name) == self._environment.get(name) for name in self._read if name != _APP_ROOT)
        )

    def close(self) -> None:
        super().close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _start_process(self) -> None:
        # Where the folders of the tests are, because links do not lead from one file system to another.
        in_memory = folder_in_memory(room_bytes=_PAGE_BYTES)
        self._folder = tempfile.TemporaryDirectory(prefix="threadkeeper-server-forks-", dir=in_memory)
        folder = Path(self._folder.name)
        shutil.copytree(_ROOT / ".chainlit", folder / _FOLDER / ".chainlit")
        self._control, theirs = socket.socketpair()
        with theirs, (folder / "log").open("w+b") as log:
            process = self._parent.start_forks(
                __name__, directory=folder, environment=self._environment, control=theirs, log=log
            )
            self._control.settimeout(forks.COMMAND_SECONDS)
            ready = self._control.recv(1)
            self._control.settimeout(None)
            if not ready:
                raise ForksBroken(f"Chainlit was not imported: {(folder / 'log').read_text()}")
        self._process = process
        self._read: list[str] = json.loads((folder / _NAMES).read_text())
        self._config = (folder / _CONFIG).read_bytes()


def _link_or_copy(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:
        shutil.copyfile(source, destination)


def _import_chainlit() -> None:
    """Import what a server imports, and write down which variables that read."""
    read: set[str] = set()
    variables: Any = type(os.environ)
    get = variables.__getitem__

    def note(self: Any, name: str) -> str:
        read.add(os.fsdecode(name))
        value: str = get(self, name)
        return value

    variables.__getitem__ = note
    try:
        from threadkeeper.chainlit_imports import put_stand_ins  # noqa: PLC0415

        put_stand_ins()
        from chainlit.config import ChainlitConfig  # noqa: PLC0415

        forks.import_all(["chainlit.server", *_LIBRARIES], _PACKAGES)
    finally:
        variables.__getitem__ = get
    # It takes its fields from variables of these names.
    read.update(name for field in ChainlitConfig.model_fields for name in (field, field.upper()))
    Path(_NAMES).write_text(json.dumps(sorted(read)))


def _make_routes() -> None:
    """Make what FastAPI makes of each route when a request is first looked for, and our pages and our API at all.

    They are the same in all servers without a root path; one with another makes its own.
    """
    from chainlit.server import app  # noqa: PLC0415

    from threadkeeper.web.api.on_demand import ApiOnDemand, _build_api  # noqa: PLC0415
    from threadkeeper.web.on_demand import RoutesOnDemand  # noqa: PLC0415
    from threadkeeper.web.routers import _build_chat, _build_pages  # noqa: PLC0415

    ours = (ApiOnDemand(_build_api), RoutesOnDemand(_build_pages), RoutesOnDemand(_build_chat))
    for router in (app.router, *(one.router for one in ours)):
        for route in router.routes:
            route.matches({"type": "http", "method": "GET", "path": "/none", "headers": []})


def _make_page() -> None:
    from threadkeeper.web.frontend import prepare_frontend  # noqa: PLC0415

    prepare_frontend(Path(_PAGE))


def _prepare_folder() -> None:
    """What Chainlit does with its folder when it is imported."""
    from chainlit.config import FILES_DIRECTORY, init_config  # noqa: PLC0415

    FILES_DIRECTORY.mkdir(exist_ok=True)
    init_config()


if __name__ == "__main__":
    control = socket.socket(fileno=int(sys.argv[1]))
    _import_chainlit()
    _make_routes()
    _make_page()
    control.send(b"x")
    forks.serve(control)
    _prepare_folder()
    forks.run_program(sys.argv[0])
