"""haproxy in front of a server that is served below a path: one proxy forwards the path, the other one removes it."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import missing

_CONFIGURATION = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s

frontend forwards
    bind 127.0.0.1:{forwards}
    http-request return status 418 content-type text/plain string "outside" unless {{ path {path} }} or {{ path_beg {path}/ }}
    default_backend server

frontend removes
    bind 127.0.0.1:{removes}
    http-request return status 418 content-type text/plain string "outside" unless {{ path {path} }} or {{ path_beg {path}/ }}
    http-request replace-path {path}/?(.*) /\\1
    default_backend server

backend server
    server server 127.0.0.1:{port}
"""  # noqa: E501
_START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Proxies:
    """The addresses of the two proxies. Paths outside of theirs are answered with 418."""

    forwards: str
    removes: str


@asynccontextmanager
async def haproxy(folder: Path, path: str, port: int) -> AsyncIterator[Proxies]:
    """Both proxies for the server on this port. Without haproxy, the test is skipped, or fails if CI is set."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        missing.skip_or_fail("HAPROXY: the tests behind a proxy were skipped; install the package haproxy")
    ports = [_free_port(), _free_port()]
    configuration = folder / "haproxy.cfg"
    configuration.write_text(_CONFIGURATION.format(path=path, port=port, forwards=ports[0], removes=ports[1]))
    process = await asyncio.create_subprocess_exec(program, "-db", "-f", str(configuration))
    try:
        async with asyncio.timeout(_START_SECONDS):
            for one in ports:
                await _listening(one)
        yield Proxies(*(f"http://127.0.0.1:{one}" for one in ports))
    finally:
        process.kill()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        await writer.wait_closed()
        return
