"""Usage: totals and groups, and statistics by interval."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import CallFilter, Dimension, Interval, UsageBucket
from datalayer.usage.statistics import MOST_BUCKETS
from threadkeeper.web.api.access import Caller, UsageReader
from threadkeeper.web.api.calls_query import Calls, demand_own_filters
from threadkeeper.web.api.paging import Cursor, page_of
from threadkeeper.web.api.problems import Problem
from threadkeeper.web.api.route import PREFIX, ApiRoute
from threadkeeper.web.api.usage_shapes import (
    Bucket,
    Group,
    Statistics,
    UsageReport,
    totals_of,
)
from threadkeeper.web.auth.roles import reading_usage, sees_all_usage
from threadkeeper.web.pages.dependencies import Layer

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)

Order = Literal["cost", "calls", "tokens", "failed", "seconds", "speed", "first_token", "name"]


@router.get("/usage")
async def read_usage(
    *,
    caller: UsageReader,
    layer: Layer,
    query: Calls,
    by: Annotated[Dimension | Literal["day"], Query(description="What is grouped by.")] = "model",
    order: Annotated[Order, Query(description="Of the groups, except of days.")] = "cost",
    limit: Annotated[int, Query(ge=1, le=1_000, description="The most groups, except of days.")] = 100,
) -> UsageReport:
    """The totals of a period, by default the last 30 days: one's own calls, for admins all."""
    which = _own(caller, query, by)
    with reading_usage(caller.person):
        totals, groups = await asyncio.gather(
            layer.usage_totals(which), _groups(layer, which, query.zone.key, by=by, order=order, limit=limit)
        )
    return UsageReport(
        since=which.since or "",
        until=which.until or "",
        zone=query.zone.key,
        by=by,
        totals=totals_of(totals),
        groups=groups,
    )


async def _groups(
    layer: ChainlitLayer, which: CallFilter, zone: str, *, by: Dimension | Literal["day"], order: str, limit: int
) -> list[Group]:
    if by == "day":
        days = await layer.usage_series(which, "day", zone, percentiles=False)
        return [Group(value=one.start, name=one.start, totals=totals_of(one.totals)) for one in days]
    found = await layer.usage_by(which, by, order=order, limit=limit, percentiles=False)
    return [Group(value=one.value, name=one.name, totals=totals_of(one.totals)) for one in found]


@router.get("/statistics")
async def read_statistics(
    *,
    caller: UsageReader,
    layer: Layer,
    query: Calls,
    interval: Interval = "day",
    split_by: Annotated[
        Dimension | None, Query(description="Each interval has a bucket for every value that occurs in any of them.")
    ] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MOST_BUCKETS)] = MOST_BUCKETS,
) -> Statistics:
    """Number, cost, tokens and speed of calls in each interval of a period, also in those without a call."""
    which = _own(caller, query, split_by)
    with reading_usage(caller.person):
        found = await layer.usage_series(which, interval, query.zone.key, split_by)
    page, following = page_of(found, _name_of_bucket, cursor, limit)
    return Statistics(
        since=which.since or "",
        until=which.until or "",
        zone=query.zone.key,
        interval=interval,
        data=[Bucket(start=one.start, end=one.end, value=one.value, totals=totals_of(one.totals)) for one in page],
        next_cursor=following,
    )


def _name_of_bucket(bucket: UsageBucket) -> str:
    return f"{bucket.start}~{bucket.value or ''}"


def _own(caller: Caller, query: Calls, by: str | None) -> CallFilter:
    sees_all = sees_all_usage(caller.person)
    demand_own_filters(query, sees_all=sees_all)
    if by == "user" and not sees_all:
        raise Problem(403, "forbidden", "Only admins group by user.")
    return query.of_period()
