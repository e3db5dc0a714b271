"""Adds our routes, middleware and error responses to Chainlit's application.

Chainlit's last route answers every path, so ours come first. `chainlit run -w` runs app.py again in the same process
with all our modules imported again; a second mount replaces the first.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from datalayer import DataLayerError
from threadkeeper.settings.root_path import root_path
from threadkeeper.web.on_demand import RoutesOnDemand
from threadkeeper.web.programs import ProgramRoutes
from threadkeeper.web.reader_language import as_chosen
from threadkeeper.web.root_path import UnderRootPath
from threadkeeper.web.security import SecurityHeaders
from threadkeeper.web.statuses import status_of

logger = logging.getLogger(__name__)

AsgiMiddleware = Callable[[ASGIApp, Scope, Receive, Send], Awaitable[None]]

_API_PAGES = ("/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json")

_WORDS = {
    403: "This belongs to someone else.",
    404: "There is no such record.",
    409: "This was changed by someone else meanwhile. Please load it again.",
    422: "This cannot be stored as it is.",
    500: "Something went wrong in the storage. The reason is in the server's log.",
    503: "The storage cannot be reached at the moment. Please try again.",
}


def mount(
    app: FastAPI,
    *routers: APIRouter | RoutesOnDemand,
    gate: AsgiMiddleware,
    headers: AsgiMiddleware | None = None,
    traces: AsgiMiddleware | None = None,
    programs: APIRouter | None = None,
) -> None:
    """Add the routers before Chainlit's routes, below the root path, and the gate before everything.

    Args:
        app: `chainlit.server.app`.
        routers: in the order in which they are matched.
        gate: middleware that sets the acting user.
        headers: middleware that sets the security headers.
        traces: middleware that sees the route which took a request.
        programs: the router of `ProgramRoutes`.
    """
    routes = app.router.routes
    ours: list[Any] = getattr(app.state, "threadkeeper_routes", [])
    routes[:] = [
        route
        for route in routes
        if not any(route is other for other in ours) and getattr(route, "path", None) not in _API_PAGES
    ]
    chainlit_routes = routes[:]
    root = root_path()
    for router in (*routers, *([programs] if programs is not None else [])):
        if isinstance(router, RoutesOnDemand):
            routes.append(router)
        else:
            app.include_router(router, prefix=root)
    app.state.threadkeeper_routes = routes[len(chainlit_routes) :]
    routes[:] = [*app.state.threadkeeper_routes, *chainlit_routes]

    headers = headers or SecurityHeaders()
    first_time = not hasattr(app.state, "threadkeeper_middleware")
    middleware = {
        "gate": gate,
        "headers": headers if traces is None else _around(headers, traces),
        "root": UnderRootPath(root),
        "programs": ProgramRoutes(
            programs.routes if programs is not None else (), app.user_middleware, _answer, traces, root
        ),
        "language": as_chosen,
    }
    app.state.threadkeeper_middleware = middleware
    if first_time:
        app.add_middleware(_Replaceable, fastapi=app, name="gate")
        app.add_middleware(_Replaceable, fastapi=app, name="language")
        # The last one added is the first to get a request.
        app.add_middleware(_Replaceable, fastapi=app, name="programs")
        app.add_middleware(_Replaceable, fastapi=app, name="root")
        # Innermost, below Chainlit's compression.
        app.user_middleware.append(Middleware(_Replaceable, fastapi=app, name="headers"))
        app.add_exception_handler(DataLayerError, _answer)


def served(app: FastAPI) -> ASGIApp:
    """The application for a server: requests of programs go to their routes without what FastAPI puts around all."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        middleware: dict[str, Any] = app.state.threadkeeper_middleware
        if middleware["programs"].takes(scope):
            await middleware["root"](partial(middleware["programs"], app), scope, receive, send)
        else:
            await app(scope, receive, send)

    return serve


def _around(outer: AsgiMiddleware, inner: AsgiMiddleware) -> AsgiMiddleware:
    """Both as one middleware."""

    async def both(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        await outer(partial(inner, app), scope, receive, send)

    return both


class _Replaceable:
    """A fixed member of the application's middleware chain that calls the middleware mounted last."""

    def __init__(self, app: ASGIApp, *, fastapi: FastAPI, name: str) -> None:
        self._app = app
        self._fastapi = fastapi
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        middleware: AsgiMiddleware = self._fastapi.state.threadkeeper_middleware[self._name]
        await middleware(self._app, scope, receive, send)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DataLayerError)
    status = status_of(error, tells_of_others=True)
    logger.log(
        logging.ERROR if status >= 500 else logging.INFO,
        "%s %s was answered with %d: %s",
        request.method,
        request.url.path,
        status,
        error,
        exc_info=error if status == 500 else None,
    )
    return JSONResponse({"detail": _WORDS[status]}, status, headers={"Retry-After": "5"} if status == 503 else None)
