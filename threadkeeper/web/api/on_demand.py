"""The API, which is made on demand."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from threadkeeper.settings.root_path import root_path, under_root
from threadkeeper.web.on_demand import OnDemand

PATHS = ("/api", "/api/{path:path}", "/interactions", "/interactions/{path:path}")
"""Also those that no route takes: Chainlit's last route would answer a program with its page."""


class _Answered(Exception):
    """A request for the headers has them."""


class ApiOnDemand(OnDemand):
    """An ASGI application with the routes of `routes.api_router`, below the root path.

    HEAD is answered as GET, with the same checks.
    """

    redirects_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.share(scope)
        if scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        if scope["path"].startswith(under_root("/interactions", root_path())) and not scope["path"].endswith("/"):
            # A small API of FastAPI redirects to the slash; a redirect would cost curl the body.
            scope = {**scope, "path": f"{scope['path']}/"}
        try:
            await self.router(scope, receive, send)
        except _Answered:
            return
        except HTTPException as error:
            # No route takes the path or the method.
            from threadkeeper.web.api.problems import no_route  # noqa: PLC0415  it came with the router

            methods = {
                method
                for route in iter_route_contexts(self.router.routes)
                if route.path_regex.fullmatch(scope["path"])
                for method in route.methods or ()
            }
            methods |= {"HEAD"} if "GET" in methods else set()
            await no_route(error.status_code, scope["path"], methods).response()(scope, receive, send)


def _without_body(send: Send) -> Send:
    """Sends the headers alone, and ends what would send a body in parts, such as a large file."""

    async def send_headers(message: Message) -> None:
        is_body = message["type"] == "http.response.body"
        await send({"type": message["type"], "body": b""} if is_body else message)
        if is_body and message.get("more_body"):
            raise _Answered

    return send_headers


def api_on_demand(**shared: object) -> APIRouter:
    """The router of the API, for `mount`. `shared` is what `routes.api_router` names."""
    router, api = APIRouter(), ApiOnDemand(_build_api, **shared)
    router.routes.extend(Route(path, api, include_in_schema=False) for path in PATHS)
    return router


def _build_api() -> APIRouter:
    from threadkeeper.web.api.routes import api_router  # noqa: PLC0415

    return api_router()
