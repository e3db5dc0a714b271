"""The API, which is imported and built with its first request: a server without programs starts light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from threadkeeper.settings.root_path import root_path
from threadkeeper.web.auth.keys import KeyGate

if TYPE_CHECKING:
    from datalayer.chainlit_layer import ChainlitLayer
    from threadkeeper.program_turns import AskThread
    from threadkeeper.web.pages.shell import PageWriter

PATHS = ("/api/v1/{path:path}", "/interactions/{path:path}")


class ApiOnDemand:
    """An ASGI application with the routes of `routes.api_router`, below the root path."""

    def __init__(self, build: Callable[[], APIRouter]) -> None:
        self._build = build

    @cached_property
    def router(self) -> APIRouter:
        """All routes of the API."""
        router = APIRouter()
        router.include_router(self._build(), prefix=root_path())
        return router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.router(scope, receive, send)


def api_on_demand(
    layer: ChainlitLayer,
    pages: PageWriter,
    key_gate: KeyGate,
    *,
    ask_thread: AskThread,
    asked_reasons: Sequence[str] = (),
) -> APIRouter:
    """The router of the API, for `mount`. The arguments are those of `routes.api_router`."""

    def build() -> APIRouter:
        from threadkeeper.web.api.routes import api_router  # noqa: PLC0415

        return api_router(layer, pages, key_gate, ask_thread=ask_thread, asked_reasons=asked_reasons)

    router, api = APIRouter(), ApiOnDemand(build)
    router.routes.extend(Route(path, api, include_in_schema=False) for path in PATHS)
    return router
