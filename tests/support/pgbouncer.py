"""PgBouncer in front of the Postgres server of the tests, in transaction or session mode.

Its pool is small, so that clients do share connections of the server: what leaks into a session then reaches others.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support import missing
from tests.support.postgres import ordinary_user, print_log

_START_SECONDS = 60
_CONFIGURATION = """
[databases]
{only} = host={host} port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users.txt
pool_mode = {mode}
max_client_conn = 500
default_pool_size = {pool_size}
min_pool_size = 0
reserve_pool_size = 0
server_idle_timeout = 2
server_login_retry = 1
query_wait_timeout = 60
server_reset_query = DISCARD ALL
"""


def find_pgbouncer() -> str | None:
    return shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")


@dataclass(frozen=True)
class PgBouncer:
    """A running PgBouncer."""

    port: int
    _configuration: Path
    _process: subprocess.Popen[bytes]

    def point_at(self, server_url: str) -> None:
        """Serve the databases of another server from now on, as an operator does after a failover: by a reload."""
        parts = urlsplit(server_url)
        text = self._configuration.read_text()
        text = re.sub(r"host=\S+ port=\d+", f"host={parts.hostname} port={parts.port}", text)
        self._configuration.write_text(text)
        self._process.send_signal(signal.SIGHUP)


@contextmanager
def pgbouncer(server_url: str, mode: str, *, pool_size: int = 4, only: str = "*") -> Iterator[int]:
    """As `movable_pgbouncer`; gives its port."""
    with movable_pgbouncer(server_url, mode, pool_size=pool_size, only=only) as running:
        yield running.port


@contextmanager
def movable_pgbouncer(server_url: str, mode: str, *, pool_size: int = 4, only: str = "*") -> Iterator[PgBouncer]:
    """PgBouncer for the databases of the server. Without it, the test is skipped, or fails in CI.

    Args:
        mode: transaction, session or statement.
        pool_size: connections to each database of the server.
        only: the database it serves; "*" for all.
    """
    program = find_pgbouncer()
    if program is None:
        missing.skip_or_fail("PGBOUNCER: the tests behind a pooler were skipped; install the package pgbouncer")
    parts = urlsplit(server_url)
    user = ordinary_user()
    folder = Path(tempfile.mkdtemp(prefix="threadkeeper-bouncer-", dir="/tmp"))
    port = _free_port()
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        _CONFIGURATION.format(
            host=parts.hostname,
            server_port=parts.port,
            port=port,
            folder=folder,
            mode=mode,
            pool_size=pool_size,
            only=only,
        )
    )
    (folder / "users.txt").write_text(f'"{unquote(parts.username or "")}" "{unquote(parts.password or "")}"\n')
    identity: dict[str, Any] = {}
    if user:
        for path in (folder, *folder.iterdir()):
            os.chown(path, user.pw_uid, user.pw_gid)
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, str(configuration)], cwd=folder, stdout=log, stderr=log, **identity)
        try:
            _wait(process, port, folder / "log")
            yield PgBouncer(port, configuration, process)
        finally:
            process.kill()
            process.wait()
            print_log("PgBouncer", folder / "log")
            shutil.rmtree(folder, ignore_errors=True)


def through(url: str, port: int) -> str:
    """The URL of the same database through the pooler on this port."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}").geturl()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ends = time.monotonic() + _START_SECONDS
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > ends:
            raise RuntimeError(f"PgBouncer did not start: {log.read_text(errors='replace')}")
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
