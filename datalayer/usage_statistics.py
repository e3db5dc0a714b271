"""What calls come to: sums, means and percentiles, made by the database in two statements whatever is asked.

One adds up, the other ranks the times to the first token. A percentile is a time that was measured, to the
millisecond: the smallest that so many hundredths of the calls did not exceed.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Label,
    Row,
    Select,
    Subquery,
    Text,
    cast,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.errors import InvalidRecord
from datalayer.schema import users
from datalayer.usage_filters import HAS_FAILED, IS_UNPRICED, STATUS_CLASS
from datalayer.usage_records import Dimension, UsageBucket, UsageGroup, UsageTotals
from datalayer.usage_schema import llm_calls, projects

_COLUMNS: dict[Dimension, Column[Any]] = {
    "model": llm_calls.c.model,
    "provider": llm_calls.c.provider,
    "user": llm_calls.c.userId,
    "project": llm_calls.c.projectId,
    "assistant": llm_calls.c.assistant,
    "kind": llm_calls.c.kind,
}
# Whose id the dimension's value is, and what they are called.
_NAMED: dict[Dimension, tuple[Column[Any], Column[Any]]] = {
    "user": (users.c.id, users.c.identifier),
    "project": (projects.c.id, projects.c.name),
}
_SUMMED = (
    *("promptTokens", "completionTokens", "cachedTokens", "reasoningTokens"),
    *("inputCost", "outputCost", "totalCost"),
)
_AVERAGED = ("seconds", "tokensPerSecond", "firstTokenSeconds")
_PERCENTS = (50, 95)
# By what groups can be put in order, the most first; a name from A on.
ORDERS = ("cost", "calls", "tokens", "failed", "seconds", "speed", "first_token", "name")


async def totals(connection: AsyncConnection, chosen: ColumnElement[bool]) -> UsageTotals:
    """Over all calls that the condition holds for."""
    calls = select(*_measures()).where(chosen).subquery("calls")
    row = (await connection.execute(_added_up(calls, ()))).one()
    ranks = (await connection.execute(_ranked(calls, ()))).one()
    return _totals(row, ranks)


async def series(
    connection: AsyncConnection,
    dialect: Dialect,
    chosen: ColumnElement[bool],
    periods: Sequence[tuple[str, str]],
    split_by: Dimension | None,
) -> list[UsageBucket]:
    """For each period, in order, those of its calls; split by a dimension, one for each value that there is in any.

    Args:
        periods: as `usage_periods.periods` gives them; all calls that are chosen lie in one.
    """
    if not periods:
        return []
    source, number, within = dialect.in_periods(llm_calls, llm_calls.c.requestedAt, chosen, periods)
    keys = [number.label("period")]
    if split_by is not None:
        source, value = _valued(dialect, source, split_by)
        keys.append(value)
    names = [key.name for key in keys]
    calls = select(*keys, *_measures()).select_from(source).where(within).subquery("calls")
    found = await _grouped(connection, calls, names)
    values: dict[str | None, None] = {None: None} if split_by is None else dict.fromkeys(key[1] for key in found)
    nothing = UsageTotals()
    return [
        UsageBucket(begin, end, value, found.get((at, value) if split_by else (at,), nothing))
        for at, (begin, end) in enumerate(periods)
        for value in sorted(values, key=lambda one: (one is None, one or ""))
    ]


async def by(
    connection: AsyncConnection,
    dialect: Dialect,
    chosen: ColumnElement[bool],
    dimension: Dimension,
    *,
    order: str,
    limit: int,
) -> list[UsageGroup]:
    """The calls for each value of the dimension, and for those without one.

    Raises:
        InvalidRecord: there is no such dimension or order.
    """
    source, value = _valued(dialect, llm_calls, dimension)
    calls = select(value, *_measures()).select_from(source).where(chosen).subquery("calls")
    rows = (await connection.execute(_in_order(_added_up(calls, ["value"]), dimension, order).limit(limit))).all()
    ranks = {row[0]: row[1:] for row in await connection.execute(_ranked(calls, ["value"]))}
    return [UsageGroup(row.value, row.name, _totals(row, ranks.get(row.value, (None, None)))) for row in rows]


def _in_order(groups: Select[Any], dimension: Dimension, order: str) -> Select[Any]:
    """The groups with their names, in this order."""
    one = groups.subquery("one")
    named: FromClause = one
    name: ColumnElement[Any] = one.c.value
    if dimension in _NAMED:
        identity, name = _NAMED[dimension]
        named = one.outerjoin(identity.table, identity == one.c.value)
    tokens = func.coalesce(one.c.promptTokens, 0) + func.coalesce(one.c.completionTokens, 0)
    by_what: dict[str, ColumnElement[Any]] = {
        "cost": one.c.totalCost.desc().nulls_last(),
        "calls": one.c.calls.desc(),
        "tokens": tokens.desc(),
        "failed": one.c.failed.desc(),
        "seconds": one.c.mean_seconds.desc().nulls_last(),
        "speed": one.c.mean_tokensPerSecond.desc().nulls_last(),
        "first_token": one.c.mean_firstTokenSeconds.desc().nulls_last(),
        "name": name.asc().nulls_last(),
    }
    if order not in by_what:
        raise InvalidRecord(f"groups are in order of {', '.join(ORDERS)}")
    return (
        select(one, name.label("name"))
        .select_from(named)
        .order_by(by_what[order], one.c.calls.desc(), one.c.value.asc().nulls_last())
    )


def _valued(dialect: Dialect, source: FromClause, dimension: Dimension) -> tuple[FromClause, Label[Any]]:
    """What to select from to have the value of the dimension, and the value."""
    value: ColumnElement[Any]
    if dimension == "tag":
        each = dialect.each(llm_calls.c.tags)
        source, value = source.outerjoin(each, true()), each.c.value
    elif dimension == "status":
        value = cast(STATUS_CLASS, Text)
    elif dimension in _COLUMNS:
        value = _COLUMNS[dimension]
    else:
        raise InvalidRecord(f"calls are told apart by {', '.join((*_COLUMNS, 'tag', 'status'))}")
    return source, value.label("value")


def _measures() -> list[ColumnElement[Any]]:
    calls = llm_calls.c
    return [
        calls.id,
        HAS_FAILED.label("hasFailed"),
        IS_UNPRICED.label("isUnpriced"),
        calls.isEstimated,
        *(calls[name] for name in (*_SUMMED, *_AVERAGED)),
    ]


def _added_up(calls: Subquery, keys: Sequence[str]) -> Select[Any]:
    of = calls.c
    # Of an id: a period without calls has a row, and no call in it.
    counts = [
        func.count(of.id).label("calls"),
        func.count(of.id).filter(of.hasFailed).label("failed"),
        func.count(of.id).filter(of.isUnpriced).label("unpriced"),
        func.count(of.id).filter(of.isEstimated).label("estimated"),
    ]
    statement = select(
        *(of[key] for key in keys),
        *counts,
        *(func.sum(of[name]).label(name) for name in _SUMMED),
        *(func.avg(of[name]).label(f"mean_{name}") for name in _AVERAGED),
    )
    return statement.group_by(*(of[key] for key in keys)).having(func.count(of.id) > 0) if keys else statement


def _ranked(calls: Subquery, keys: Sequence[str]) -> Select[Any]:
    """The percentiles of the time to the first token.

    Counted by the millisecond first, so that what is put in order is a few thousand times and not each call.
    """
    milliseconds = func.round(calls.c.firstTokenSeconds * literal_column("1000"))
    timed = (
        select(*(calls.c[key] for key in keys), milliseconds.label("milliseconds"))
        .where(calls.c.firstTokenSeconds.is_not(None))
        .subquery("timed")
    )
    grouped = (*(timed.c[key] for key in keys), timed.c.milliseconds)
    times = select(*grouped, func.count().label("times")).group_by(*grouped).subquery("times")
    same = [times.c[key] for key in keys]
    ranks = select(
        *same,
        times.c.milliseconds,
        func.sum(times.c.times).over(partition_by=same, order_by=times.c.milliseconds).label("up_to"),
        func.sum(times.c.times).over(partition_by=same).label("in_all"),
    ).subquery("ranks")
    of = ranks.c
    found = [
        func.min(of.milliseconds).filter(of.up_to * literal_column("100") >= of.in_all * literal_column(str(percent)))
        for percent in _PERCENTS
    ]
    statement = select(*(of[key] for key in keys), *found)
    return statement.group_by(*(of[key] for key in keys)) if keys else statement


async def _grouped(
    connection: AsyncConnection, calls: Subquery, keys: Sequence[str]
) -> Mapping[tuple[Any, ...], UsageTotals]:
    rows = (await connection.execute(_added_up(calls, keys))).all()
    width = len(keys)
    ranks = {tuple(row[:width]): row[width:] for row in await connection.execute(_ranked(calls, keys))}
    return {key: _totals(row, ranks.get(key, (None, None))) for row in rows if (key := tuple(row[:width]))}


def _totals(row: Row[Any], ranks: Sequence[Any]) -> UsageTotals:
    p50, p95 = (None if one is None else float(one) / 1000 for one in ranks)
    return UsageTotals(
        calls=row.calls,
        failed=row.failed,
        unpriced=row.unpriced,
        estimated=row.estimated,
        prompt_tokens=int(row.promptTokens or 0),
        completion_tokens=int(row.completionTokens or 0),
        cached_tokens=int(row.cachedTokens or 0),
        reasoning_tokens=int(row.reasoningTokens or 0),
        input_cost=row.inputCost or Decimal(0),
        output_cost=row.outputCost or Decimal(0),
        total_cost=row.totalCost or Decimal(0),
        mean_seconds=row.mean_seconds,
        mean_tokens_per_second=row.mean_tokensPerSecond,
        mean_first_token_seconds=row.mean_firstTokenSeconds,
        first_token_p50=p50,
        first_token_p95=p95,
    )
