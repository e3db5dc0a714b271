"""Two replicas behind haproxy with sticky sessions, on one Postgres: as in compose.yaml, without containers."""

import asyncio
import re
import shutil
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from socketio.exceptions import ConnectionError as SocketRefused  # type: ignore[import-untyped]

from tests.support import missing
from tests.support.chat_client import ChatClient
from tests.support.faulty_network import FaultyNetwork
from tests.support.kept_process import free_port
from tests.support.patience import until
from tests.support.plain_http import PLAIN_HTTP
from tests.support.postgres import print_log
from tests.support.server import ROOT, AppServer
from threadkeeper.web import files  # noqa: F401  `AppServer.layer` would import it while the test's networks wait

_SECRET = "a secret that both replicas have, of 32 characters"
_HOST = "127.0.0.1"
_COOKIE = "REPLICA"


@dataclass(frozen=True)
class Topology:
    """The address of the proxy, and the replicas by the values of its cookie.

    `networks` are those between the proxy and the replicas that have one. `refused` has the failed attempts of pages
    to connect again.
    """

    url: str
    replicas: Mapping[str, AppServer]
    networks: Mapping[str, FaultyNetwork] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def page(self, name: str, password: str, *, at: str) -> AsyncIterator[ChatClient]:
        """A page of this user at this replica, when the proxy regards the replica as up.

        It has the proxy's cookie before it logs in, as a browser that has been there. Each page has a user of its own:
        two logins of one user within a second get the same token, and are one login.
        """
        client = ChatClient(self.url, name, password)

        async def is_given() -> bool:
            self.send_to(client.http, at)
            await client.http.get("/health")
            return self.replica_of(client) == at

        try:
            await until(is_given, what=f"the proxy's choice of {at}")
        except BaseException:
            await client.close()
            raise
        async with client:
            assert self.replica_of(client) == at, f"haproxy gave the page of {name} to another replica than {at}"
            yield client

    def send_to(self, client: httpx.AsyncClient, name: str) -> None:
        """Give the client the proxy's cookie for this replica."""
        client.cookies.set(_COOKIE, name, domain=_HOST, path="/")

    def replica_of(self, client: ChatClient) -> str:
        """The replica that the proxy has chosen for this client, also after the client has closed."""
        return {cookie.name: str(cookie.value) for cookie in client.http.cookies.jar}[_COOKIE]

    def other_than(self, name: str) -> str:
        """The name of the other replica."""
        return next(one for one in self.replicas if one != name)

    async def until_ready(self, name: str, status: int = httpx.codes.OK) -> None:
        """Wait until this replica says that it is ready, or not with another status."""

        async def says_so() -> bool:
            async with httpx.AsyncClient(base_url=self.replicas[name].base_url, **PLAIN_HTTP, timeout=30) as page:
                return (await page.get("/ready")).status_code == status

        await until(says_so, what=f"{status} from /ready of {name}")

    async def again(self, client: ChatClient) -> ChatClient:
        """A page whose connection ended, connected again with the cookies it has: its thread is resumed.

        Raises:
            AssertionError: it is refused for a minute; with the last reasons.
        """
        reasons = deque[str](maxlen=3)

        async def connected() -> ChatClient | None:
            page = client.successor()
            try:
                # The page asks over HTTP first, and gets the cookie of the replica that answers.
                (await page.http.get("/project/translations")).raise_for_status()
                await page.connect()
            except (httpx.HTTPError, SocketRefused, AssertionError) as error:
                await page.close()
                reasons.append(f"{type(error).__name__}: {error}")
                self.refused.append(reasons[-1])
                return None
            except BaseException:
                await page.close()
                raise
            return page

        try:
            return await until(connected, what=f"the page with the thread {client.thread_id}")
        except AssertionError as error:
            raise AssertionError(f"{error}; its last attempts: {list(reasons)}") from None


@asynccontextmanager
async def two_replicas(
    folder: Path,
    database_url: str,
    settings: Mapping[str, str],
    *,
    programs: Sequence[Sequence[str] | None] = (None, None),
    environments: Sequence[Mapping[str, str]] = ({}, {}),
    with_networks: Sequence[str] = (),
) -> AsyncIterator[Topology]:
    """Start both replicas, `replica1` and `replica2`, at the same time, and the proxy.

    Without haproxy, the test is skipped, or fails if CI is set. At the end the logs are printed, which pytest shows if
    the test fails.

    Args:
        settings: of both replicas. `environments` and `programs`: those of each.
        with_networks: the replicas that the proxy reaches through a network that can fail.
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
        networks = {
            name: await started.enter_async_context(FaultyNetwork(replicas[name].port)) for name in with_networks
        }
        ports = {name: server.port for name, server in replicas.items()}
        port = await started.enter_async_context(
            proxy(program, folder, ports | {name: network.port for name, network in networks.items()})
        )
        yield Topology(f"http://{_HOST}:{port}", replicas, networks)


@asynccontextmanager
async def proxy(program: str, folder: Path, ports: Mapping[str, int]) -> AsyncIterator[int]:
    """haproxy in front of these ports of the replicas; gives its own port."""
    port, configuration, log = free_port(), folder / "haproxy.cfg", folder / "haproxy.log"
    configuration.write_text(_configuration(port, ports))
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            program, "-db", "-f", str(configuration), stdout=output, stderr=output
        )
    try:
        await until(lambda: _listens(port, process), what="haproxy's port")
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        print_log("haproxy", log)


def _configuration(port: int, ports: Mapping[str, int]) -> str:
    """The file of the containers, with these addresses, and a log."""
    text = (ROOT / "deploy" / "haproxy.cfg").read_text()
    text = re.sub(r"(?ms)^resolvers .*?^$", "", text).replace(" resolvers containers", "")
    text = text.replace("bind :8080", f"bind {_HOST}:{port}")
    text = text.replace("global\n", "global\n    log stdout format raw local0\n")
    text = text.replace("defaults\n", "defaults\n    log global\n    option httplog\n")
    for name, own in ports.items():
        text = text.replace(f"{name}:8000", f"{_HOST}:{own}")
    return text


async def _listens(port: int, process: asyncio.subprocess.Process) -> bool:
    assert process.returncode is None, "haproxy does not start"
    try:
        _, writer = await asyncio.open_connection(_HOST, port)
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
