"""Monitoring: `/health` (liveness), `/ready` (database and file store are usable, and how far the
search index is), `/metrics` (Prometheus)."""

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
from threadkeeper.web.auth.bearer import bearer_token

logger = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
REMEMBER_SECONDS = 1.0
COUNT_EVERY_SECONDS = 5.0
PROBE_WAITS_SECONDS = 0.2
"""How long a probe waits for the count of the texts that are not indexed yet; then it tells the count before."""


def health_router(layer: ChainlitLayer, *, metrics_token: str | None = None) -> APIRouter:
    """The routes `/health`, `/ready` and `/metrics`.

    Args:
        layer: its database and file store are checked.
        metrics_token: the bearer token for `/metrics`; None serves it to everyone.
    """
    router = APIRouter()
    readiness, search = Readiness(layer), SearchProgress(layer)

    @router.get("/health", include_in_schema=False)
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @router.get("/ready", include_in_schema=False)
    async def ready() -> JSONResponse:
        failing = await readiness.failing()
        if failing:
            return JSONResponse({"status": "not ready", "failing": failing}, 503)
        replica = {} if layer.read_replica is None else {"read_replica": layer.read_replica.state}
        return JSONResponse({"status": "ready", "search_texts_left": await search.texts_left(), **replica})

    @router.get("/metrics", include_in_schema=False)
    async def read_metrics(request: Request) -> Response:
        if metrics_token and not _bears(request, metrics_token):
            return JSONResponse({"detail": "A bearer token is required."}, 401, headers={"WWW-Authenticate": "Bearer"})
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _bears(request: Request, token: str) -> bool:
    given = bearer_token(request.headers.get("authorization", ""))
    return given is not None and hmac.compare_digest(given.encode(), token.encode())


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
        reasons = await asyncio.gather(*(_reason(ping, CHECK_SECONDS) for ping in parts.values()))
        failing = {part: reason for part, reason in zip(parts, reasons, strict=True) if reason}
        if list(failing) != self._failing:
            for part, reason in failing.items():
                logger.error("not ready: %s unusable: %s", part, reason)
        return list(failing)

    async def _ping_database(self) -> None:
        await self._layer.ping()

    async def _ping_blobs(self) -> None:
        await self._layer.blobs.ping()


class SearchProgress:
    """How many texts the search cannot find yet. Counts at most every five seconds, however often it is called."""

    def __init__(self, layer: ChainlitLayer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._layer = layer
        self._clock = clock
        self._begun_at: float | None = None
        self._counting: asyncio.Task[None] | None = None
        self._left: int | None = None

    async def texts_left(self) -> int | None:
        """The latest count; None if the texts are not counted yet, or could not be counted."""
        is_due = self._begun_at is None or self._clock() - self._begun_at >= COUNT_EVERY_SECONDS
        if is_due and (self._counting is None or self._counting.done()):
            self._begun_at = self._clock()
            # A task of its own, because a long count goes on when the probe has its answer.
            self._counting = asyncio.create_task(self._count())
        if self._counting is not None and not self._counting.done():
            await asyncio.wait([self._counting], timeout=PROBE_WAITS_SECONDS)
        return self._left

    async def _count(self) -> None:
        async def count() -> None:
            self._left = await self._layer.texts_to_index()

        if reason := await _reason(count, COUNT_EVERY_SECONDS):
            self._left = None
            logger.warning("the texts that the search index lacks could not be counted: %s", reason)


async def _reason(act: Callable[[], Awaitable[None]], seconds: float) -> str | None:
    """Why the act fails, within so many seconds; None if it does not."""
    try:
        async with asyncio.timeout(seconds):
            await act()
    except TimeoutError:
        return f"no answer within {seconds:g} seconds"
    except DataLayerError as error:
        return str(error)
    return None
