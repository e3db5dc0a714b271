"""The usage page: totals and their change since the previous period, a projection, charts, and a table.

The database computes all sums.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import UsageBucket, UsageGroup, UsageTotals
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.charts import MOST_MODELS, Drawing
from threadkeeper.web.pages.sentences import Say
from threadkeeper.web.usage.query import UsageQuery

GROUPS_A_PAGE = 100
_DAY = timedelta(days=1)
# With less data, a projection for a year would be a guess.
_FEWEST_CALLS, _SHORTEST = 20, _DAY
_PROJECTED_DAYS = (30, 90, 365)

# Formats a number for a reader.
Shown = Callable[[Any, Say], str | None]


@dataclass(frozen=True, slots=True)
class Tile:
    """A large number.

    Args:
        before: what it was in the previous period; "" if that is unknown.
        trend: 1 for an increase since then, -1 for a decrease, 0 for hardly a change.
        worse: whether an increase is bad.
    """

    label: str
    value: str
    note: str = ""
    exact: str = ""
    before: str = ""
    trend: int = 0
    worse: bool = False


@dataclass(frozen=True, slots=True)
class Projection:
    """The projected cost in US dollars and tokens for a number of days."""

    days: int
    cost: str
    tokens: str


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A row of the table. `link` filters by its value; None for the calls without a value."""

    name: str
    link: str | None
    chosen: bool
    share: float
    totals: UsageTotals
    cost: str


async def overview(layer: ChainlitLayer, query: UsageQuery, say: Say, cursor: str | None) -> dict[str, Any]:
    """The variables of the template.

    Args:
        layer: reads the calls.
        query: which calls.
        say: the sentences of the page.
        cursor: of the page of the table; None for the first one.

    Raises:
        StorageUnavailable: the database does not answer.
        InvalidRecord: the cursor is none.
    """
    which, zone = query.calls, query.zone.key
    now, before, page, earliest = await asyncio.gather(
        layer.usage_totals(which),
        layer.usage_totals(query.calls_before),
        layer.page_of_usage(which, query.by, order=query.order, cursor=cursor, limit=GROUPS_A_PAGE),
        layer.list_calls(which, order="requested_at", descending=False, limit=1),
    )
    charts = []
    if now.calls:
        # By default, the table has the same groups.
        is_table = (query.by, query.order, cursor) == ("model", "cost", None)
        models: Sequence[UsageGroup] = (
            page.groups if is_table else await layer.usage_by(which, "model", limit=MOST_MODELS, percentiles=False)
        )
        named_models = tuple(group.value for group in models[:MOST_MODELS] if group.value is not None)
        buckets, split = await asyncio.gather(
            layer.usage_series(which, query.interval, zone),
            layer.usage_series(replace(which, models=named_models), query.interval, zone, "model", percentiles=False),
        )
        by_model = [(model, _of(model, buckets, split)) for model in named_models]
        charts = Drawing(buckets, by_model, query.interval, query.zone, say).charts()
    first = earliest.rows[0].call.requested_at if earliest.rows else None
    return {
        "totals": now,
        "tiles": _tiles(now, before, say),
        "projections": _projections(query, now, first, say),
        "rate_since": _rate_since(query, first),
        "charts": charts,
        "rows": _rows(page.groups, query, now, say),
        "cursor": cursor,
        "more": page.more,
        "groups_a_page": GROUPS_A_PAGE,
        "rest": page.rest,
        "rest_cost": formats.cost(page.rest, say),
        "next_cursor": page.next_cursor,
    }


def _without(totals: UsageTotals, say: Say) -> str:
    """The note below a cost that leaves calls out."""
    if is_unpriced(totals):
        return say("all_unpriced")
    return say("some_unpriced", calls=formats.count(totals.unpriced, say)) if totals.unpriced else ""


def is_unpriced(totals: UsageTotals) -> bool:
    """Whether none of the calls has a price."""
    return bool(totals.unpriced) and not totals.total_cost


def _cost(totals: UsageTotals, say: Say) -> str:
    return "–" if not (totals.total_tokens or totals.total_cost) else formats.money(totals.total_cost, say) or ""


def _tiles(now: UsageTotals, before: UsageTotals, say: Say) -> list[Tile]:
    def since(value: Decimal | float | None, earlier: Decimal | float | None, shown: Shown) -> dict[str, Any]:
        trend = formats.trend(value, earlier) if before.calls else None
        return {} if trend is None else {"before": shown(earlier, say) or "", "trend": trend}

    percentiles = (
        say("p50_p95", p50=formats.seconds(now.first_token_p50, say), p95=formats.seconds(now.first_token_p95, say))
        if now.first_token_p50 is not None
        else ""
    )
    return [
        Tile(
            say("cost"),
            say("unknown") if is_unpriced(now) else _cost(now, say),
            _without(now, say),
            **({} if now.unpriced or before.unpriced else since(now.total_cost, before.total_cost, formats.money)),
        ),
        Tile(
            say("tokens"),
            formats.short_count(now.total_tokens, say),
            say(
                "in_and_out",
                tokens_in=formats.short_count(now.prompt_tokens, say),
                tokens_out=formats.short_count(now.completion_tokens, say),
            )
            + (say("some_estimated", calls=formats.count(now.estimated, say)) if now.estimated else ""),
            exact=formats.count(now.total_tokens, say) or "",
            **since(now.total_tokens, before.total_tokens, formats.short_count),
        ),
        Tile(
            say("calls"),
            formats.short_count(now.calls, say),
            exact=formats.count(now.calls, say) or "",
            **since(now.calls, before.calls, formats.short_count),
        ),
        Tile(
            say("errors"),
            formats.percent(now.error_rate, say) or "–",
            say("some_failed", calls=formats.count(now.failed, say)) if now.failed else "",
            **since(now.error_rate, before.error_rate, formats.percent),
            worse=True,
        ),
        Tile(
            say("first_token_median"),
            formats.seconds(now.first_token_p50, say) or "–",
            percentiles,
            **since(now.first_token_p50, before.first_token_p50, formats.seconds),
            worse=True,
        ),
        Tile(
            say("speed"),
            formats.speed(now.mean_tokens_per_second, say) or "–",
            say("tokens_per_second") if now.mean_tokens_per_second is not None else "",
            **since(now.mean_tokens_per_second, before.mean_tokens_per_second, formats.speed),
        ),
    ]


def _rate_since(query: UsageQuery, first: str | None) -> datetime | None:
    """The start of the projection's data: that of the period, or its first call."""
    if first is None or not query.period.is_running:
        return None
    return max(query.period.since, datetime.fromisoformat(first).astimezone(query.zone))


def _projections(query: UsageQuery, totals: UsageTotals, first: str | None, say: Say) -> list[Projection]:
    since = _rate_since(query, first)
    if since is None or totals.calls < _FEWEST_CALLS or query.period.now - since < _SHORTEST:
        return []
    elapsed_days = (query.period.now - since) / _DAY
    return [
        Projection(
            days,
            "" if is_unpriced(totals) else formats.money(totals.total_cost * Decimal(days / elapsed_days), say) or "",
            formats.short_count(round(totals.total_tokens * days / elapsed_days), say),
        )
        for days in _PROJECTED_DAYS
    ]


def _rows(groups: Sequence[UsageGroup], query: UsageQuery, all_of_them: UsageTotals, say: Say) -> list[GroupRow]:
    # The bars show the column by which the table is sorted.
    def weight(totals: UsageTotals) -> float:
        match query.order:
            case "tokens":
                return totals.total_tokens
            case "failed":
                return totals.failed
            case "calls":
                return totals.calls
        return float(totals.total_cost)

    whole = weight(all_of_them)
    return [
        GroupRow(
            formats.named(query.by, group.value, say, group.name),
            None if group.value is None else query.only("/usage", query.by, group.value),
            group.value in query.chosen.get(query.by, ()),
            min(weight(group.totals) / whole, 1.0) if whole else 0.0,
            group.totals,
            formats.cost(group.totals, say),
        )
        for group in groups
    ]


def _of(model: str, buckets: Sequence[UsageBucket], split: Sequence[UsageBucket]) -> list[UsageBucket]:
    """The buckets of one model, one for each bucket of all models; empty where it has none."""
    own = {bucket.start: bucket for bucket in split if bucket.value == model}
    return [own.get(bucket.start) or UsageBucket(bucket.start, bucket.end, model, UsageTotals()) for bucket in buckets]
