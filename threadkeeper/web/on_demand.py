"""Routes that are imported and made with the first request for one of them: a server that waits starts light."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property

from fastapi import APIRouter
from starlette.types import Scope

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


@cache
def _made(build: Callable[[], APIRouter], root: str, redirects_slashes: bool) -> APIRouter:
    # FastAPI makes each route anew for each router that includes it: 3 ms of CPU time for each of 130.
    router = APIRouter(redirect_slashes=redirects_slashes)
    router.include_router(build(), prefix=root)
    return router
