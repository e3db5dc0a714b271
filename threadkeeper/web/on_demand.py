"""Routes that are imported and made with the first request for one of them: a server that waits starts light."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from fastapi import APIRouter

from threadkeeper.settings.root_path import root_path


class OnDemand:
    """Routes below the root path. `build` imports and makes them."""

    redirects_slashes = True

    def __init__(self, build: Callable[[], APIRouter]) -> None:
        self._build = build

    @cached_property
    def router(self) -> APIRouter:
        """All of them."""
        router = APIRouter(redirect_slashes=self.redirects_slashes)
        router.include_router(self._build(), prefix=root_path())
        return router
