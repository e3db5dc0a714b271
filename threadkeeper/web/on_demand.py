"""Routes that are imported and made with the first request for one of them: a server that waits starts light."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property

from fastapi import APIRouter
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from threadkeeper.settings.root_path import root_path


class OnDemand:
    """Routes below the root path, for one application."""

    redirects_slashes = True

    def __init__(self, build: Callable[[], APIRouter], **shared: object) -> None:
        """
        Args:
            build: imports the routes and makes them. All applications of a process with this function have the same.
            shared: attributes of `request.state`, in which the applications differ.
        """
        self._build, self._shared = build, shared

    @cached_property
    def router(self) -> APIRouter:
        """All of them."""
        return _made(self._build, root_path(), self.redirects_slashes)

    def share(self, scope: Scope) -> None:
        """Set the attributes of `request.state`."""
        scope.setdefault("state", {}).update(self._shared)


class RoutesOnDemand(OnDemand, BaseRoute):
    """All routes of a router, as one route of an application."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """A path that none of them has is left to the routes that follow."""
        if scope["type"] != "http":
            return Match.NONE, {}
        (included,) = self.router.routes
        return included.matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        (included,) = self.router.routes
        self.share(scope)
        await included.handle(scope, receive, send)


@cache
def _made(build: Callable[[], APIRouter], root: str, redirects_slashes: bool) -> APIRouter:
    # FastAPI makes each route anew for each router that includes it: 3 ms of CPU time for each of 130.
    router = APIRouter(redirect_slashes=redirects_slashes)
    router.include_router(build(), prefix=root)
    return router
