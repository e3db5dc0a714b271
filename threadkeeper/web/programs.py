"""The routes of programs whose answers are not ours, those of the gateway and of `/v1`: requests go straight to them.

What stands before the routes of pages does nothing for such a request, but for an eighth of the CPU time of a call. It
has a key in place of a login and of cookies, so it acts as nobody; its answer keeps the bytes of the provider, so it
is not compressed; and it is data, so it needs no policy for pages. Only other origins are answered as everywhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeAlias

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datalayer import DataLayerError, acting_as

_REST = "{path:path}"
_OURS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin"))
# As for every answer of the application: with an origin, it would be another one.
_VARIES = (b"vary", b"Origin")

Failed: TypeAlias = Callable[[Request, Exception], Awaitable[Response]]
Traces: TypeAlias = Callable[[ASGIApp, Scope, Receive, Send], Awaitable[None]]


class ProgramRoutes:
    """ASGI middleware, inside of the root path and outside of all others. `mount.served` asks it before them."""

    def __init__(
        self,
        routes: Iterable[BaseRoute],
        middleware: Sequence[Middleware],
        failed: Failed,
        traces: Traces | None,
        root: str = "",
    ) -> None:
        """
        Args:
            routes: those whose path is a folder and any rest are served here.
            middleware: of the application; what answers other origins is taken from it.
            failed: gives the response to an error of the data layer.
            traces: middleware that sees the route which took a request.
            root: the path under which everything is served; a proxy forwards or removes it.
        """
        self._failed, self._traces, self._root = failed, traces, root
        self._routes: dict[str, Route] = {}
        for route in routes:
            if isinstance(route, Route) and route.path.endswith(_REST):
                self._routes[route.path.removesuffix(_REST)] = route
        self._folders = tuple(self._routes)
        self._with_origin: ASGIApp = self._take
        one: Any
        for one in middleware:
            if one.cls is CORSMiddleware:
                self._with_origin = CORSMiddleware(self._take, *one.args, **one.kwargs)

    def takes(self, scope: Scope) -> bool:
        """Whether the path of a request is below one of the routes."""
        return scope["type"] == "http" and self._own_path(scope).startswith(self._folders)

    async def __call__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.takes(scope):
            await app(scope, receive, send)
            return
        path = self._own_path(scope)
        end = path.index("/", 1) + 1
        route = self._routes[path[:end]]
        if scope["method"] not in (route.methods or ()):
            await app(scope, receive, send)
            return
        scope = {**scope, "endpoint": route.endpoint, "path_params": {"path": path[end:]}}
        has_origin = any(name == b"origin" for name, _ in scope["headers"])
        await (self._with_origin if has_origin else self._take)(scope, receive, send)

    def _own_path(self, scope: Scope) -> str:
        path: str = scope["path"]
        return path.removeprefix(self._root) if path.startswith(f"{self._root}/") else path

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._traces is None:
            await self._answer(scope, receive, send)
        else:
            await self._traces(self._answer, scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        # With an origin, what answers it says so.
        varies = () if any(name == b"origin" for name, _ in scope["headers"]) else (_VARIES,)

        async def with_ours(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                ours = (one for one in _OURS if one[0] not in names)
                message["headers"] = [*message["headers"], *ours, *varies]
            await send(message)

        request = Request(scope, receive)
        with acting_as(None):
            try:
                response = await scope["endpoint"](request)
            except DataLayerError as error:
                response = await self._failed(request, error)
            await response(scope, receive, with_ours)
