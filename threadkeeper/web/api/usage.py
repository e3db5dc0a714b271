"""Usage: totals and groups, and statistics by interval."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from datalayer import InvalidRecord
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import CallFilter, Dimension, Interval, UsageBucket, UsageGroup, UsagePage, UsageTotals
from datalayer.usage.statistics import MOST_BUCKETS
from datalayer.usage.usage import MOST_GROUPS
from threadkeeper.web.api.access import Caller, UsageReader
from threadkeeper.web.api.calls_query import Calls, demand_own_filters
from threadkeeper.web.api.paging import Cursor, page_of
from threadkeeper.web.api.problems import Problem, invalid
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
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MOST_GROUPS, description="The most groups, except of days.")] = 100,
) -> UsageReport:
    """The totals of a period, by default the last 30 days: one's own calls, for admins all.

    The groups come by pages; days come all at once. The groups are sorted again for each page, so what is called
    between two pages can move a group to the other page.
    """
    which = _own(caller, query, by)
    if by == "day" and cursor is not None:
        raise invalid("query.cursor", "days have no pages")
    with reading_usage(caller.person):
        try:
            totals, page = await asyncio.gather(
                layer.usage_totals(which),
                _days(layer, which, query.zone.key)
                if by == "day"
                else layer.page_of_usage(which, by, order=order, cursor=cursor, limit=limit),
            )
        except InvalidRecord as error:
            if cursor is None:
                raise
            raise invalid("query.cursor", f"{error}") from None
    return UsageReport(
        since=which.since or "",
        until=which.until or "",
        zone=query.zone.key,
        by=by,
        totals=totals_of(totals),
        groups=[Group(value=one.value, name=one.name, totals=totals_of(one.totals)) for one in page.groups],
        count=page.count,
        rest=totals_of(page.rest) if page.more else None,
        next_cursor=page.next_cursor,
    )


async def _days(layer: ChainlitLayer, which: CallFilter, zone: str) -> UsagePage:
    days = await layer.usage_series(which, "day", zone, percentiles=False)
    groups = tuple(UsageGroup(one.start, one.start, one.totals) for one in days)
    return UsagePage(groups, len(groups), 0, UsageTotals(), None)


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
    which = _own(caller, query, split_by, cursor)
    with reading_usage(caller.person):
        found = await layer.usage_series(which, interval, query.zone.key, split_by)

    def name_of(bucket: UsageBucket) -> str:
        return f"{which.since}~{which.until}~{bucket.start}~{bucket.value or ''}"  # as `of_period` reads it

    page, following = page_of(found, name_of, cursor, limit)
    return Statistics(
        since=which.since or "",
        until=which.until or "",
        zone=query.zone.key,
        interval=interval,
        data=[Bucket(start=one.start, end=one.end, value=one.value, totals=totals_of(one.totals)) for one in page],
        next_cursor=following,
    )


def _own(caller: Caller, query: Calls, by: str | None, cursor: str | None = None) -> CallFilter:
    sees_all = sees_all_usage(caller.person)
    demand_own_filters(query, sees_all=sees_all)
    if by == "user" and not sees_all:
        raise Problem(403, "forbidden", "Only admins group by user.")
    return query.of_period(cursor)
