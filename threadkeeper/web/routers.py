"""Every route of ours, in the order in which they are asked: what is mounted is what the tests walk."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from fastapi import APIRouter

from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web import chainlit_routes
from threadkeeper.web.files import ElementReader, files_router
from threadkeeper.web.health import Storage, health_router
from threadkeeper.web.me.reader import OwnReader
from threadkeeper.web.me.routes import me_router
from threadkeeper.web.pages.shell import Pages
from threadkeeper.web.review.reader import ReviewReader
from threadkeeper.web.review.routes import review_routers
from threadkeeper.web.usage.reader import UsageReader
from threadkeeper.web.usage.routes import usage_router


class Layer(Storage, ElementReader, UsageReader, ReviewReader, OwnReader, Protocol):
    """What our routes need of the data layer."""


def all_routers(
    layer: Callable[[], Layer],
    *,
    metrics_token: str | None = None,
    redirect_seconds: int | None = None,
    theme: Path | None = None,
    time_zone: str = "UTC",
    review: ReviewPolicy | None = None,
    assistant_owners: Mapping[str, tuple[str, ...]] | None = None,
    voted: chainlit_routes.Voted | None = None,
) -> list[APIRouter]:
    """Our routers, for `mount`.

    Args:
        layer: gives the data layer.
        metrics_token: `/metrics` wants it as bearer token.
        redirect_seconds: how long the store's own links live, where browsers are sent on to it.
        theme: Chainlit's `public/theme.json`, for pages of ours to look like the chat.
        time_zone: where days begin for a reader whose browser names none.
        review: what the operator decides of the review.
        assistant_owners: whose each assistant is, by its name: they see its votes.
        voted: is told of a vote that is stored, and of the session it came from.
    """
    pages, policy = Pages(theme, time_zone=time_zone), review or ReviewPolicy()
    return [
        health_router(layer, metrics_token=metrics_token),
        files_router(layer, redirect_seconds=redirect_seconds),
        pages.assets.router(),
        usage_router(layer, pages, time_zone=time_zone, asks_purpose=policy.asks_purpose),
        *review_routers(layer, pages, policy),
        me_router(layer, pages, assistant_owners or {}),
        chainlit_routes.chainlit_router(voted),
    ]
