"""Our pages, which are imported and made with the first request for one of them: a server that waits starts light."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property

from fastapi import APIRouter
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from threadkeeper.settings.root_path import root_path

FOLDERS = ("usage", "review", "me", "assistants")


class PagesOnDemand(BaseRoute):
    """The routes whose paths begin with one of `FOLDERS`, below the root path."""

    def __init__(self, build: Callable[[], APIRouter]) -> None:
        """`build` imports and makes the routes of the pages."""
        self._build = build
        self._paths = re.compile(rf"{re.escape(root_path())}/({'|'.join(FOLDERS)})(/|$)")

    @cached_property
    def router(self) -> APIRouter:
        """All routes of the pages."""
        router = APIRouter()
        router.include_router(self._build(), prefix=root_path())
        return router

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """A path that no page has is left to the routes that follow."""
        if scope["type"] != "http" or not self._paths.match(scope["path"]):
            return Match.NONE, {}
        (pages,) = self.router.routes
        return pages.matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        (pages,) = self.router.routes
        await pages.handle(scope, receive, send)
