"""The class of the routes of the API: errors are problems, bodies bounded, rates told, and first answers kept."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from starlette.types import Message, Receive

from datalayer import DataLayerError
from threadkeeper.settings.root_path import root_path, under_root
from threadkeeper.web.api.access import requirements_of, takes_only
from threadkeeper.web.api.once import Begun, Replayed, begun, drop, is_done, is_unfinished, keep, kept_instead
from threadkeeper.web.api.problems import Problem, problem_of
from threadkeeper.web.auth.keys import rate_headers, rate_of

logger = logging.getLogger(__name__)

PREFIX = "/api/v1"
ERRORS = "x-errors"
"""The key, in `openapi_extra` of a route, of the statuses of errors that not every route has."""
LARGEST_BODY = 1_000_000
"""Bytes."""
_storing: set[asyncio.Task[None]] = set()


class ApiRoute(APIRoute):
    """A route of the API. The state of the request has `layer`."""

    def most_bytes(self, _request: Request) -> int:
        """The largest body. It is asked for when the body is read, after the caller is known."""
        return LARGEST_BODY

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        reads = "GET" in (self.methods or ())
        requirements = requirements_of(self.dependant)
        taken = sorted(one.alias for one in get_flat_params(self.dependant) if isinstance(one.field_info, Query))

        async def handle_failures(request: Request) -> Response:
            is_kept = True
            try:
                if reads:
                    takes_only(request, taken)
                for require in requirements:
                    await require(request)
                response = await handle(Request(request.scope, _bounded(request, self.most_bytes)))
                is_kept = not is_unfinished(request)
            except Replayed as again:
                response = again.response
            except Exception as error:  # noqa: BLE001  every error becomes a problem; unforeseen ones are logged
                # Nothing was stored, so the request may be sent again; or a repetition gets the same error.
                is_kept, response = is_done(request), problem_of(error).response()
            if begun(request) is not None:
                await _end_once(request, kept_instead(request) or response, is_kept=is_kept)
            if (rate := rate_of(request)) is not None:
                response.headers.update(rate_headers(rate))
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return handle_failures


async def _end_once(request: Request, response: Response, *, is_kept: bool) -> None:
    """Store the first answer to an `Idempotency-Key`, or forget the key if nothing was done."""
    name, layer = begun(request), request.state.layer
    assert name is not None
    whole: Callable[[], Awaitable[str]] | None = getattr(response, "whole", None)
    if whole is not None:
        task = asyncio.create_task(_keep_stream(request, name, response, whole), name="keep-first-answer")
        _storing.add(task)
        task.add_done_callback(_storing.discard)
        return
    try:
        if is_kept:
            body = bytes(response.body).decode()
            await keep(layer, request, name, response, body)
        else:
            await drop(layer, name)
    except DataLayerError as error:
        logger.error("the first answer to an Idempotency-Key was not stored: %s", error)


async def _keep_stream(request: Request, name: Begun, response: Response, whole: Callable[[], Awaitable[str]]) -> None:
    """Store what a stream has at its end, whether or not the program reads it."""
    try:
        body = await whole()
        await keep(request.state.layer, request, name, response, body)
    except DataLayerError as error:
        logger.error("the first answer to an Idempotency-Key was not stored: %s", error)


def _bounded(request: Request, most_bytes: Callable[[Request], int]) -> Receive:
    """The body of the request; a longer one is refused as soon as that is known."""
    announced = request.headers.get("content-length", "")
    size = 0

    async def receive() -> Message:
        nonlocal size
        most = most_bytes(request)
        is_too_large = announced.isdecimal() and (len(announced) > 12 or int(announced) > most)
        message = {"type": "http.request"} if is_too_large else await request.receive()
        size += len(message.get("body") or b"")
        if size > most or is_too_large:
            raise Problem(413, "too-large", f"The body is larger than {most:,} bytes.")
        return message

    return receive


def location_of(path: str) -> str:
    """The header `Location` of a path below PREFIX. Slugs of assistants may be in any script."""
    return quote(under_root(f"{PREFIX}{path}", root_path()))
