"""One request over HTTP, with all rules: only hosts of the settings, only their addresses, robots, bounds, no cookies.

Redirects are followed one by one, and every rule holds for each of them. The rules of a host are asked before a request
to it; the addresses are checked when its connection is made (`addresses`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver
from protego import Protego
from yarl import URL

from threadkeeper.knowledge.fetching.addresses import guarded_sockets
from threadkeeper.knowledge.fetching.base import FetchFailed, FetchSettings
from threadkeeper.knowledge.fetching.failures import told_failures
from threadkeeper.knowledge.fetching.places import Places, shown

if TYPE_CHECKING:
    from threadkeeper.knowledge.fetching.hosts import UrlHost

logger = logging.getLogger(__name__)

AGENT = "Threadkeeper"
"""Our name in `User-Agent` and in robots.txt."""
MIB = 1024 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})
_PIECE_BYTES = 64 * 1024
# RFC 9309 asks for 500 KiB at least; what is behind is not read.
_ROBOTS_BYTES = 512 * 1024
_CONNECT_SECONDS = 10.0
_SILENT_SECONDS = 30.0
_TRIES = 3
_LONGEST_WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Args:
    address: after the redirects.
    content: None if it is unchanged (304).
    next_address: of a header `Link` with `rel="next"`.
    """

    address: URL
    content: bytes | None
    headers: Mapping[str, str] = field(default_factory=dict)
    next_address: URL | None = None


class Client:
    """Requests of one training. robots.txt of a host is read once.

    Args:
        resolver: of names; None: the one of this machine.
        tls: for hosts with https; None: the certificate authorities of this machine.
    """

    def __init__(
        self,
        settings: FetchSettings,
        *,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._resolver, self._tls = resolver, tls
        self.places = Places(settings.hosts)
        self._sessions: dict[UrlHost, aiohttp.ClientSession] = {}
        self._robots: dict[UrlHost, Protego] = {}
        self._reading_robots: defaultdict[UrlHost, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()

    async def get(
        self,
        address: URL,
        most_bytes: float,
        *,
        accept: str = "*/*",
        headers: Mapping[str, str] | None = None,
        private_headers: Mapping[str, str] | None = None,
        unchanged: Mapping[str, str] | None = None,
        reads_robots: bool = True,
    ) -> Answer:
        """The content of an address, after redirects.

        Args:
            most_bytes: of the content, unpacked.
            private_headers: for the origin of this address alone.
            unchanged: headers that ask whether the content changed, for this address alone.

        Raises:
            FetchFailed: there is none.
        """
        first = address
        for _ in range(_MOST_REDIRECTS + 1):
            rule = self.places.host_of(address)
            if reads_robots and not (await self._robots_of(rule, address)).can_fetch(str(address), AGENT):
                raise FetchFailed("robots", address=shown(address))
            sent = {"Accept": accept, **(headers or {})}
            if address.origin() == first.origin():
                sent |= private_headers or {}
            if address == first:
                sent |= unchanged or {}
            found = await self._ask(rule, address, sent, most_bytes)
            if isinstance(found, Answer):
                return found
            address = self.places.parse(str(found))
        raise FetchFailed("redirects", address=shown(first), count=_MOST_REDIRECTS)

    async def _ask(self, rule: UrlHost, address: URL, headers: Mapping[str, str], most_bytes: float) -> Answer | URL:
        """The answer of a server, or where it redirects to. One that is busy is asked again, a few times."""
        for last in (*[False] * (_TRIES - 1), True):
            with told_failures(address):
                async with self._session(rule).get(address, headers=headers, allow_redirects=False) as response:
                    if response.status not in (429, 503) or last:
                        return await _answer(response, most_bytes)
                    seconds = _wait_seconds(response.headers.get("Retry-After"))
            await asyncio.sleep(seconds)
        raise AssertionError

    async def _robots_of(self, rule: UrlHost, address: URL) -> Protego:
        """The robots.txt of a host, as RFC 9309 says: without one, everything is allowed.

        Raises:
            FetchFailed: it could not be read, so nothing is allowed.
        """
        async with self._reading_robots[rule]:
            if rule not in self._robots:
                place = address.origin().with_path("/robots.txt")
                try:
                    found = await self.get(place, _ROBOTS_BYTES, reads_robots=False)
                    content = found.content or b""
                except _TooLong as long:
                    content = long.begin
                except FetchFailed as failed:
                    if failed.kind == "host":
                        # This host is allowed, so the other one is where its robots.txt redirects to.
                        raise FetchFailed("robots_moved", host=address.host, **failed.values) from None
                    if failed.kind != "status":
                        raise
                    if not 400 <= failed.values["status"] < 500 or failed.values["status"] == 429:
                        raise FetchFailed("robots_unread", **failed.values) from None
                    content = b""
                self._robots[rule] = Protego.parse(content.decode("utf-8-sig", "replace"))
            return self._robots[rule]

    def _session(self, rule: UrlHost) -> aiohttp.ClientSession:
        if rule not in self._sessions:
            connector = aiohttp.TCPConnector(
                resolver=self._resolver,
                use_dns_cache=False,
                socket_factory=guarded_sockets(rule.networks),
                ssl=self._tls or True,
                limit=4,
            )
            # Proxies and passwords of the environment are left out (`trust_env`).
            self._sessions[rule] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS),
                headers={"User-Agent": AGENT, "Accept-Encoding": "gzip, deflate"},
                read_bufsize=_PIECE_BYTES,
            )
        return self._sessions[rule]


class _TooLong(FetchFailed):
    """The content is longer than may be read; its begin was read."""

    def __init__(self, most_bytes: float, begin: bytes) -> None:
        super().__init__("too_large", megabytes=f"{most_bytes / MIB:g}")
        self.begin = begin


async def _answer(response: aiohttp.ClientResponse, most_bytes: float) -> Answer | URL:
    address, status = response.url, response.status
    if status in _REDIRECTS and (location := response.headers.get("Location")):
        try:
            return address.join(URL(location))
        except ValueError:
            raise FetchFailed("address", address=shown(location)) from None
    if status == 304:
        return Answer(address, None, response.headers)
    if status != 200:
        raise FetchFailed("status", host=address.host, status=status)
    if (encoding := response.headers.get("Content-Encoding", "").strip().lower()) not in _ENCODINGS:
        raise FetchFailed("encoding", host=address.host, encoding=encoding[:40])
    # aiohttp unpacks pieces of bounded size, so the length of what is unpacked is known before it fills the memory.
    content = bytearray()
    async for piece in response.content.iter_chunked(_PIECE_BYTES):
        content += piece
        if len(content) > most_bytes:
            raise _TooLong(most_bytes, bytes(content[: int(most_bytes)]))
    return Answer(address, bytes(content), response.headers, _next_address(response))


def _next_address(response: aiohttp.ClientResponse) -> URL | None:
    try:
        link = response.links.get("next")
    except ValueError:
        # aiohttp gives the addresses in `Link` to yarl unchecked, also those with a port that is no port.
        return None
    found = None if link is None else link.get("url")
    return found if isinstance(found, URL) else None


def _wait_seconds(text: str | None) -> float:
    """How long a busy server asks to wait; a date, and nonsense, is a second."""
    seconds = float(text) if text is not None and text.isascii() and text.isdecimal() else 1.0
    return min(seconds, _LONGEST_WAIT_SECONDS)
