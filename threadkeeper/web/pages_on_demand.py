"""Our pages, which are made on demand."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastapi import APIRouter
from starlette.routing import Match
from starlette.types import Scope

from threadkeeper.settings.root_path import root_path
from threadkeeper.web.on_demand import RoutesOnDemand

FOLDERS = ("usage", "review", "me", "assistants", "admin", "invitation")


class PagesOnDemand(RoutesOnDemand):
    """The routes whose paths begin with one of `FOLDERS`, below the root path."""

    def __init__(self, build: Callable[[], APIRouter], **shared: object) -> None:
        super().__init__(build, **shared)
        self._paths = re.compile(rf"{re.escape(root_path())}/({'|'.join(FOLDERS)})(/|$)")

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """A path that no page has is left to the routes that follow."""
        return super().matches(scope) if self._paths.match(scope["path"]) else (Match.NONE, {})
