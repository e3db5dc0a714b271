"""The API, which is imported and built with its first request: a server without programs starts light."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from threadkeeper.settings.root_path import root_path

PATHS = ("/api/v1/{path:path}", "/interactions/{path:path}")


class ApiOnDemand:
    """An ASGI application with the routes of `routes.api_router`, below the root path."""

    def __init__(self, build: Callable[[], APIRouter]) -> None:
        self._build = build

    @cached_property
    def router(self) -> APIRouter:
        """All routes of the API."""
        router = APIRouter(redirect_slashes=False)
        router.include_router(self._build(), prefix=root_path())
        return router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.router(scope, receive, send)
        except HTTPException as error:
            # No route takes the path or the method.
            from threadkeeper.web.api.problems import problem_of  # noqa: PLC0415  it came with the router

            await problem_of(error).response()(scope, receive, send)


def api_on_demand(build: Callable[[], APIRouter]) -> APIRouter:
    """The router of the API, for `mount`. `build` imports and makes `routes.api_router`."""
    router, api = APIRouter(), ApiOnDemand(build)
    router.routes.extend(Route(path, api, include_in_schema=False) for path in PATHS)
    return router
