"""A small web site on loopback, whose pages a test sets, and a resolver whose names a test sets."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult


@dataclass
class Page:
    """What a path answers with.

    Args:
        body: as it is sent; None never ends: pieces follow until the client leaves.
        seconds: before anything is sent.
        waits_for: what must happen before anything is sent.
        times: how often it is answered so; then with `after`.
    """

    body: bytes | str | None = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    waits_for: asyncio.Event | None = None
    etag: str | None = None
    times: int | None = None
    after: Page | None = None


@dataclass(frozen=True)
class Visit:
    path: str
    headers: Mapping[str, str]


class Site:
    """Serves `pages` by their path with query; others are 404. `visits` are the requests, with robots.txt."""

    def __init__(self, certificate: Any = None) -> None:
        self.pages: dict[str, Page | Callable[[web.Request], Page]] = {}
        self.visits: list[Visit] = []
        self.sent = 0
        self._certificate = certificate
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    def address(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{'https' if self._certificate else 'http'}://{host}:{self.port}{path}"

    def paths(self, *, robots: bool = False) -> list[str]:
        """The paths that were asked for, in order."""
        return [visit.path for visit in self.visits if robots or visit.path != "/robots.txt"]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path
        self.visits.append(Visit(path, dict(request.headers)))
        page = self.pages.get(path, Page("not here", status=404))
        if callable(page):
            page = page(request)
        while page.times is not None:
            page.times -= 1
            if page.times >= 0:
                break
            assert page.after is not None
            page = page.after
        await asyncio.sleep(page.seconds)
        if page.waits_for is not None:
            await page.waits_for.wait()
        headers = dict(page.headers)
        if page.etag is not None:
            headers["ETag"] = page.etag
            if request.headers.get("If-None-Match") == page.etag:
                return web.Response(status=304, headers=headers)
        if page.body is not None:
            body = page.body.encode() if isinstance(page.body, str) else page.body
            return web.Response(status=page.status, body=body, headers=headers)
        response = web.StreamResponse(status=page.status, headers=headers)
        await response.prepare(request)
        piece = b"more and more " * 1_000
        try:
            while True:
                await response.write(piece)
                self.sent += len(piece)
        except (ConnectionResetError, asyncio.CancelledError):
            return response

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._certificate).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()


class Names(AbstractResolver):
    """Resolves the names of a test. Each call gives the next addresses of a name, and the last ones again and again."""

    def __init__(self, **names: list[list[str]]) -> None:
        self.names = {name.replace("_", "."): answers for name, answers in names.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answers = self.names[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in addresses
        ]

    async def close(self) -> None: ...


def packed(text: str) -> bytes:
    return gzip.compress(text.encode())
