"""Monitoring: `/health` (liveness), `/ready` (database and file store are usable), `/metrics` (Prometheus)."""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from datalayer import DataLayerError
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper import metrics

logger = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
REMEMBER_SECONDS = 1.0


def health_router(layer: ChainlitLayer, *, metrics_token: str | None = None) -> APIRouter:
    """The routes `/health`, `/ready` and `/metrics`.

    Args:
        layer: its database and file store are checked.
        metrics_token: the bearer token for `/metrics`; None serves it to everyone.
    """
    router = APIRouter()
    readiness = Readiness(layer)

    @router.get("/health", include_in_schema=False)
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @router.get("/ready", include_in_schema=False)
    async def ready() -> JSONResponse:
        failing = await readiness.failing()
        if failing:
            return JSONResponse({"status": "not ready", "failing": failing}, 503)
        return JSONResponse({"status": "ready"})

    @router.get("/metrics", include_in_schema=False)
    async def read_metrics(request: Request) -> Response:
        if metrics_token and not _bears(request, metrics_token):
            return JSONResponse({"detail": "A bearer token is required."}, 401, headers={"WWW-Authenticate": "Bearer"})
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _bears(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


class Readiness:
    """The unusable parts of the storage. Checks at most once a second, however often it is called."""

    def __init__(self, layer: ChainlitLayer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._layer = layer
        self._clock = clock
        self._lock = asyncio.Lock()
        self._checked_at: float | None = None
        self._failing: list[str] = []

    async def failing(self) -> list[str]:
        """The names of the unusable parts: `database`, `blobs`."""
        async with self._lock:
            if self._checked_at is None or self._clock() - self._checked_at >= REMEMBER_SECONDS:
                before = self._failing
                self._failing = await self._check()
                self._checked_at = self._clock()
                if before and not self._failing:
                    logger.info("ready again")
            return self._failing

    async def _check(self) -> list[str]:
        parts = {"database": self._ping_database, "blobs": self._ping_blobs}
        reasons = await asyncio.gather(*(_reason(ping) for ping in parts.values()))
        failing = {part: reason for part, reason in zip(parts, reasons, strict=True) if reason}
        if list(failing) != self._failing:
            for part, reason in failing.items():
                logger.error("not ready: %s unusable: %s", part, reason)
        return list(failing)

    async def _ping_database(self) -> None:
        await self._layer.ping()

    async def _ping_blobs(self) -> None:
        await self._layer.blobs.ping()


async def _reason(ping: Callable[[], Awaitable[None]]) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await ping()
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} seconds"
    except DataLayerError as error:
        return str(error)
    return None
