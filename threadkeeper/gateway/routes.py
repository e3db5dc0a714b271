"""The routes of the gateway and of `/v1`.

What they need is imported with the first request: a server without callers starts light.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from threadkeeper.gateway.endpoints import dialect_of
from threadkeeper.gateway.headers import our_secret
from threadkeeper.gateway.interruptions import mark_interrupted_calls
from threadkeeper.gateway.rates import with_rate
from threadkeeper.gateway.refusals import refusal, refused_of
from threadkeeper.gateway.settings import GatewaySettings
from threadkeeper.gateway.v1.parts import V1Parts
from threadkeeper.web.auth.keys import KeyGate

if TYPE_CHECKING:
    from datalayer.chainlit_layer import ChainlitLayer
    from threadkeeper.gateway.gateway import Gateway
    from threadkeeper.gateway.v1.endpoint import V1

logger = logging.getLogger(__name__)

ROOT, V1_ROOT = "/gateway", "/v1"
PATH, V1_PATH = f"{ROOT}/{{path:path}}", f"{V1_ROOT}/{{path:path}}"
"""What is below; without these, Chainlit's last route would answer a program with its page."""
_LONGEST_PATH = 200
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class GatewayOnDemand:
    """The gateway of this process, for its routes and for the start and the end of the application.

    `v1`: what `/v1` needs.
    """

    def __init__(
        self, layer: ChainlitLayer, settings: GatewaySettings, keys: KeyGate, v1: V1Parts | None = None
    ) -> None:
        self._layer, self._settings, self._keys = layer, settings, keys
        self._parts = v1 or V1Parts()
        self._gateway: Gateway | None = None
        self._v1: V1 | None = None
        self._watching: asyncio.Task[None] | None = None

    async def answer(self, request: Request) -> Response:
        """The response to any request below `/gateway/`."""
        try:
            gateway = self._opened()
            gateway.begin_reading()
            key = await self._keys.key_of(our_secret(request.scope["headers"]), request, "gateway")
        except Exception as error:  # noqa: BLE001  every error gets its form; unforeseen ones are logged
            dialect = dialect_of(request.scope["path"])
            return with_rate(refusal(refused_of(error, _named(request)), dialect), request)
        return with_rate(await gateway.answer(request, key), request)

    async def answer_v1(self, request: Request) -> Response:
        """The response to any request below `/v1/`."""
        try:
            gateway = self._opened()
            gateway.begin_reading()
            key = await self._keys.key_of(our_secret(request.scope["headers"]), request, "gateway", "assistants")
            if self._v1 is None:
                from threadkeeper.gateway.v1.endpoint import V1  # noqa: PLC0415

                self._v1 = V1(gateway, self._parts)
        except Exception as error:  # noqa: BLE001  every error gets its form; unforeseen ones are logged
            from threadkeeper.gateway.v1.errors import error_response, is_of_anthropic  # noqa: PLC0415

            anthropic = is_of_anthropic(request.path_params.get("path", ""))
            return with_rate(error_response(refused_of(error, _named(request)), anthropic=anthropic), request)
        return with_rate(await self._v1.answer(request, key), request)

    def start(self) -> None:
        """Mark, from now on, the calls of processes that were killed."""
        watching = mark_interrupted_calls(self._layer)
        self._watching = asyncio.create_task(watching, name="mark-interrupted-calls")

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        if self._gateway is not None:
            await self._gateway.close()

    def _opened(self) -> Gateway:
        if self._gateway is None:
            from threadkeeper.gateway.calls import CallBook  # noqa: PLC0415
            from threadkeeper.gateway.gateway import Gateway  # noqa: PLC0415

            self._gateway = Gateway(self._layer, CallBook(self._layer, self._settings), self._settings)
        return self._gateway


def _named(request: Request) -> str:
    """The request in the log. It has no key, which only a query could have."""
    return f"{request.method} {request.scope['path'][:_LONGEST_PATH]}"


def gateway_router(gateway: GatewayOnDemand) -> APIRouter:
    """The router of the gateway and of `/v1`, for `mount`."""
    router = APIRouter()
    for path in (PATH, ROOT):
        router.add_route(path, gateway.answer, methods=_METHODS, include_in_schema=False)
    for path in (V1_PATH, V1_ROOT):
        router.add_route(path, gateway.answer_v1, methods=_METHODS, include_in_schema=False)
    return router
