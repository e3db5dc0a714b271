"""All that is at `/review`: for reviewers and admins alone, and for anybody else not there."""

from collections.abc import Callable

from fastapi import APIRouter

from threadkeeper.review_policy import ReviewPolicy
from threadkeeper.web.pages.shell import Pages
from threadkeeper.web.review.actions import acts_router
from threadkeeper.web.review.audit import audit_router
from threadkeeper.web.review.exports import export_router
from threadkeeper.web.review.inbox import inbox_router
from threadkeeper.web.review.queue import queue_router
from threadkeeper.web.review.reader import ReviewReader
from threadkeeper.web.review.statistics import numbers_router
from threadkeeper.web.review.thread import thread_router


def review_routers(layer: Callable[[], ReviewReader], pages: Pages, policy: ReviewPolicy) -> list[APIRouter]:
    """The routers of the review.

    Args:
        layer: gives the data layer.
        pages: writes the pages.
        policy: what the operator decides.
    """
    every = (inbox_router, thread_router, acts_router, queue_router, numbers_router, export_router)
    return [*(make(layer, pages, policy) for make in every), audit_router(layer, pages)]
