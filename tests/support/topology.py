"""Two replicas behind haproxy with sticky sessions, on one Postgres: as in compose.yaml, without containers."""

import asyncio
import random
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support import missing
from tests.support.chat_client import ChatClient
from tests.support.kept_process import free_port
from tests.support.patience import until
from tests.support.plain_http import PLAIN_HTTP
from tests.support.server import ROOT, AppServer

_SECRET = "a secret that both replicas have, of 32 characters"


@dataclass(frozen=True)
class Topology:
    """The address of the proxy, and the replicas by the values of its cookie."""

    url: str
    replicas: Mapping[str, AppServer]

    def client(self, name: str, password: str, thread_id: str | None = None) -> ChatClient:
        return ChatClient(self.url, name, password, thread_id=thread_id)

    def replica_of(self, client: ChatClient) -> str:
        """The replica that the proxy has chosen for this client, also after the client has closed."""
        return {cookie.name: str(cookie.value) for cookie in client.http.cookies.jar}["REPLICA"]

    async def again(self, client: ChatClient, password: str) -> ChatClient:
        """A page whose connection ended, connected again with the cookies it has: its thread is resumed."""
        other = self.client(client._identifier, password, client.thread_id)
        other.http.cookies = client.http.cookies

        async def connected() -> bool:
            try:
                # The page asks over HTTP first, and gets the cookie of the replica that answers.
                (await other.http.get("/project/translations")).raise_for_status()
                await other.connect()
            except Exception:
                return False
            return True

        await until(connected)
        return other


async def on_replica(topology: Topology, wanted: str, name: str, password: str) -> ChatClient:
    """A page of this user that the proxy has given to this replica."""
    while True:
        client = topology.client(name, password)
        await client.__aenter__()
        if topology.replica_of(client) == wanted:
            return client
        await client.close()
        # The proxy takes turns, and a login may be an even number of them: a request more, or none, changes that.
        async with httpx.AsyncClient(base_url=topology.url, **PLAIN_HTTP) as visitor:
            for _ in range(random.randrange(2)):
                await visitor.get("/health")
        # Two logins of one second have the same token. The second may store the hash of the password anew, as a fork
        # hashes with less effort than a process does, and that ends the logins before it.
        await asyncio.sleep(1)


@asynccontextmanager
async def two_replicas(
    folder: Path,
    database_url: str,
    settings: Mapping[str, str],
    *,
    programs: Sequence[Sequence[str] | None] = (None, None),
    environments: Sequence[Mapping[str, str]] = ({}, {}),
) -> AsyncIterator[Topology]:
    """Start both replicas at the same time, and the proxy. Without haproxy, the test is skipped, or fails if CI is set.

    Args:
        settings: of both replicas. `environments` and `programs`: those of each.
    """
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        missing.skip_or_fail("HAPROXY: the tests of two replicas were skipped; install the package haproxy")
    shared = {**settings, "CHAINLIT_AUTH_SECRET": _SECRET, "BLOB_URL": f"file://{folder / 'files'}"}
    replicas = {
        f"replica{number}": AppServer(folder / f"replica{number}", database_url, {**shared, **own}, chosen)
        for number, (own, chosen) in enumerate(zip(environments, programs, strict=True), 1)
    }
    async with AsyncExitStack() as started:
        await asyncio.gather(*(started.enter_async_context(one) for one in replicas.values()))
        port = free_port()
        configuration = folder / "haproxy.cfg"
        configuration.write_text(_configuration(port, replicas))
        process = await asyncio.create_subprocess_exec(program, "-db", "-f", str(configuration))
        try:
            await until(lambda: _listens(port, process))
            yield Topology(f"http://127.0.0.1:{port}", replicas)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _configuration(port: int, replicas: Mapping[str, AppServer]) -> str:
    """The file of the containers, with these addresses."""
    text = (ROOT / "deploy" / "haproxy.cfg").read_text()
    text = re.sub(r"(?ms)^resolvers .*?^$", "", text).replace(" resolvers containers", "")
    text = text.replace("bind :8080", f"bind 127.0.0.1:{port}")
    for name, server in replicas.items():
        text = text.replace(f"{name}:8000", f"127.0.0.1:{server.port}")
    return text


async def _listens(port: int, process: asyncio.subprocess.Process) -> bool:
    assert process.returncode is None, "haproxy does not start"
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
