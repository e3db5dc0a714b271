"""Sums, means and percentiles of calls, always computed by the database.

Percentiles are discrete (as `percentile_disc`), of the time to the first token in milliseconds. An engine without such
an aggregate runs a second statement, which first counts the calls per millisecond, so that it ranks a few thousand
times instead of every call.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

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

from datalayer import cursors
from datalayer.cleaning import clean_text
from datalayer.dialects import Aggregate, Dialect, Percentile
from datalayer.errors import InvalidRecord
from datalayer.records.billing import CalledModel
from datalayer.records.usage import Dimension, UsageBucket, UsageGroup, UsagePage, UsageTotals
from datalayer.schema.chat import users
from datalayer.schema.keys import api_keys
from datalayer.schema.usage import llm_calls, projects
from datalayer.usage.filters import HAS_FAILED, IS_UNPRICED, STATUS_CLASS, VERSION

ORDERS = ("cost", "calls", "tokens", "failed", "seconds", "speed", "first_token", "name")
"""The orders of groups: largest first, except for names."""
MOST_BUCKETS = 20_000
"""The maximum of a series that is split. More buckets take seconds and are of no use."""

_COLUMNS: dict[Dimension, ColumnElement[Any]] = {
    "model": llm_calls.c.model,
    "provider": llm_calls.c.provider,
    "user": llm_calls.c.userId,
    "project": llm_calls.c.projectId,
    "key": llm_calls.c.keyId,
    "assistant": llm_calls.c.assistant,
    "version": VERSION,
    "kind": llm_calls.c.kind,
}
# For dimensions whose values are ids: the column of the id and the column of the name.
_NAMED: dict[Dimension, tuple[Column[Any], Column[Any]]] = {
    "user": (users.c.id, users.c.identifier),
    "project": (projects.c.id, projects.c.name),
    "key": (api_keys.c.id, api_keys.c.name),
}
_SUMMED = (
    *("promptTokens", "completionTokens", "cachedTokens", "reasoningTokens"),
    *("inputCost", "outputCost", "totalCost"),
)
_ADDED_UP = ("calls", "failed", "unpriced", "estimated", *_SUMMED)
_AVERAGED = ("seconds", "tokensPerSecond", "firstTokenSeconds")
_PERCENTS = (50, 95)
_MILLISECONDS: ColumnElement[Any] = func.round(llm_calls.c.firstTokenSeconds * literal_column("1000"))


async def totals(connection: AsyncConnection, dialect: Dialect, chosen: ColumnElement[bool]) -> UsageTotals:
    """The totals of the calls that match the condition."""
    found = await _found(connection, dialect, True, lambda aggregate: aggregate(llm_calls, chosen, []))
    return found.get((), UsageTotals())


async def series(
    connection: AsyncConnection,
    dialect: Dialect,
    chosen: ColumnElement[bool],
    periods: Sequence[tuple[str, str]],
    split_by: Dimension | None,
    *,
    percentiles: bool,
) -> list[UsageBucket]:
    """Totals per period, in order. If split, each period has one bucket for every value that occurs in any period.

    Args:
        periods: begin and end of each, as `datalayer.periods.periods` returns them.

    Raises:
        InvalidRecord: the dimension is unknown, or there are more than `MOST_BUCKETS` buckets.
    """
    if not periods:
        return []

    def split(aggregate: Aggregate) -> Aggregate:
        def by_value(source: FromClause, where: ColumnElement[bool], keys: Sequence[ColumnElement[Any]]) -> Select[Any]:
            if split_by is None:
                return aggregate(source, where, keys)
            valued, value = _valued(dialect, source, split_by)
            return aggregate(valued, where, [*keys, value])

        return by_value

    # A period without calls may have a row, too.
    most = MOST_BUCKETS + len(periods) + 1
    found = await _found(
        connection,
        dialect,
        percentiles,
        lambda aggregate: dialect.in_periods(
            llm_calls, llm_calls.c.requestedAt, chosen, periods, split(aggregate)
        ).limit(most),
    )
    nothing = UsageTotals()
    if split_by is None:
        return [UsageBucket(*period, None, found.get((at,), nothing)) for at, period in enumerate(periods)]
    values = sorted({value for _, value in found}, key=lambda one: (one is None, one or ""))
    if len(found) > MOST_BUCKETS or len(values) * len(periods) > MOST_BUCKETS:
        raise InvalidRecord(
            f"the series has more than {MOST_BUCKETS:,} buckets: choose longer intervals or fewer values"
        )
    return [
        UsageBucket(*period, value, found.get((at, value), nothing))
        for at, period in enumerate(periods)
        for value in values
    ]


async def by(
    connection: AsyncConnection,
    dialect: Dialect,
    chosen: ColumnElement[bool],
    dimension: Dimension,
    *,
    order: str,
    limit: int,
    percentiles: bool,
) -> list[UsageGroup]:
    """Totals per value of the dimension, and of the calls without a value.

    Raises:
        InvalidRecord: the dimension or the order is unknown.
    """
    source, value = _valued(dialect, llm_calls, dimension)
    of_engine, apart = _ranking(dialect, percentiles)
    groups = _groups(_added_up(of_engine, source, chosen, [value]), dimension, order)
    statement = select(groups.one, groups.name).select_from(groups.named).order_by(*groups.order).limit(limit)
    rows = (await connection.execute(statement)).all()
    ranks = await _ranks(connection, _ranked(source, chosen, [value])) if apart else {}
    return [UsageGroup(row.value, row.name, _totals(row, ranks.get((row.value,)))) for row in rows]


async def models(connection: AsyncConnection, chosen: ColumnElement[bool], *, limit: int) -> list[CalledModel]:
    """The models of the calls with tokens, those with the most calls first."""
    calls = llm_calls.c
    names = (calls.model, calls.provider, calls.answeredBy)
    count = func.count(calls.id)
    statement = (
        select(
            *names,
            count.label("calls"),
            count.filter(IS_UNPRICED).label("unpriced"),
            func.max(calls.requestedAt).label("last_at"),
            func.min(calls.requestedAt).filter(IS_UNPRICED).label("unpriced_since"),
        )
        .where(chosen, calls.promptTokens.is_not(None))
        .group_by(*names)
        .order_by(count.desc(), *(one.asc().nulls_first() for one in names))
        .limit(limit)
    )
    return [CalledModel(*row) for row in await connection.execute(statement)]


async def page(
    connection: AsyncConnection,
    dialect: Dialect,
    chosen: ColumnElement[bool],
    dimension: Dimension,
    *,
    order: str,
    skipped: int,
    limit: int,
) -> UsagePage:
    """As `by`, without percentiles, a page of the groups behind the `skipped` ones, and the sums of those behind it.

    Raises:
        InvalidRecord: the dimension or the order is unknown.
    """
    source, value = _valued(dialect, llm_calls, dimension)
    groups = _groups(_added_up(None, source, chosen, [value]), dimension, order)
    # Of the last row of the page, these are the sums of what is behind it.
    following = [
        func.sum(groups.one.c[name]).over(order_by=groups.order, rows=(1, None)).label(f"rest_{name}")
        for name in _ADDED_UP
    ]
    statement = select(groups.one, groups.name, func.count().over().label("groups"), *following)
    statement = statement.select_from(groups.named).order_by(*groups.order).limit(limit).offset(skipped)
    rows = (await connection.execute(statement)).all()
    if not rows:
        # Behind the last group, no row has their number.
        counted = await connection.execute(select(func.count()).select_from(groups.one)) if skipped else None
        return UsagePage((), counted.scalar_one() if counted else 0, 0, UsageTotals(), None)
    last = rows[-1]
    more = last.groups - skipped - len(rows)
    return UsagePage(
        tuple(UsageGroup(row.value, row.name, _totals(row, None)) for row in rows),
        last.groups,
        more,
        _summed({name: last._mapping[f"rest_{name}"] for name in _ADDED_UP}),
        cursors.encode("usage", dimension, order, str(skipped + len(rows))) if more else None,
    )


class _Groups(NamedTuple):
    """The groups as a table, with their names, and the columns of their order."""

    one: Subquery
    named: FromClause
    name: Label[Any]
    order: Sequence[ColumnElement[Any]]


def _groups(groups: Select[Any], dimension: Dimension, order: str) -> _Groups:
    if order not in ORDERS:
        raise InvalidRecord(f"cannot order groups by {clean_text(str(order))[:60]!r}: use {', '.join(ORDERS)}")
    one = groups.subquery("one")
    named: FromClause = one
    name: ColumnElement[Any] = one.c.value
    if dimension in _NAMED:
        identity, name = _NAMED[dimension]
        named = one.outerjoin(identity.table, identity == one.c.value)
    by_what: dict[str, ColumnElement[Any]] = {
        "cost": one.c.totalCost,
        "calls": one.c.calls,
        "tokens": func.coalesce(one.c.promptTokens, 0) + func.coalesce(one.c.completionTokens, 0),
        "failed": one.c.failed,
        "seconds": one.c.mean_seconds,
        "speed": one.c.mean_tokensPerSecond,
        "first_token": one.c.mean_firstTokenSeconds,
    }
    first = by_what[order].desc() if order in by_what else name.asc()
    in_order = (first.nulls_last(), one.c.calls.desc(), one.c.value.asc().nulls_last())
    return _Groups(one, named, name.label("name"), in_order)


def _valued(dialect: Dialect, source: FromClause, dimension: Dimension) -> tuple[FromClause, Label[Any]]:
    """A source that contains the dimension's value, and the value."""
    value: ColumnElement[Any]
    if dimension == "tag":
        each = dialect.each(llm_calls.c.tags)
        source, value = source.outerjoin(each, true()), each.c.value
    elif dimension == "status":
        value = cast(STATUS_CLASS, Text)
    elif dimension in _COLUMNS:
        value = _COLUMNS[dimension]
    else:
        known = ", ".join((*_COLUMNS, "tag", "status"))
        raise InvalidRecord(f"cannot group calls by {clean_text(str(dimension))[:60]!r}: use {known}")
    return source, value.label("value")


def _ranking(dialect: Dialect, percentiles: bool) -> tuple[Percentile | None, bool]:
    """The engine's aggregate for percentiles, if wanted and present; and whether a second statement is needed."""
    return dialect.percentile if percentiles else None, percentiles and dialect.percentile is None


def _added_up(
    percentile: Percentile | None,
    source: FromClause,
    where: ColumnElement[bool],
    keys: Sequence[ColumnElement[Any]],
) -> Select[Any]:
    # Counts ids: a period without calls may have a row whose columns are NULL.
    calls = func.count(llm_calls.c.id)
    statement = select(
        *keys,
        calls.label("calls"),
        calls.filter(HAS_FAILED).label("failed"),
        calls.filter(IS_UNPRICED).label("unpriced"),
        calls.filter(llm_calls.c.isEstimated).label("estimated"),
        *(func.sum(llm_calls.c[name]).label(name) for name in _SUMMED),
        *(func.avg(llm_calls.c[name]).label(f"mean_{name}") for name in _AVERAGED),
    )
    if percentile is not None:
        statement = statement.add_columns(
            *(percentile(_MILLISECONDS, percent).label(f"p{percent}") for percent in _PERCENTS)
        )
    return statement.select_from(source).where(where).group_by(*keys)


def _ranked(source: FromClause, where: ColumnElement[bool], keys: Sequence[ColumnElement[Any]]) -> Select[Any]:
    """Percentiles only, for an engine without an aggregate for them."""
    times = (
        select(*keys, _MILLISECONDS.label("milliseconds"), func.count().label("times"))
        .select_from(source)
        .where(where, llm_calls.c.firstTokenSeconds.is_not(None))
        .group_by(*keys, _MILLISECONDS)
        .subquery("times")
    )
    same = [times.c[at] for at in range(len(keys))]
    so_far = func.sum(times.c.times).over(partition_by=same, order_by=times.c.milliseconds)
    in_all = func.sum(times.c.times).over(partition_by=same)
    of = select(*same, times.c.milliseconds, so_far.label("so_far"), in_all.label("in_all")).subquery("ranks").c
    found = [
        func.min(of.milliseconds).filter(of.so_far * literal_column("100") >= of.in_all * literal_column(f"{percent}"))
        for percent in _PERCENTS
    ]
    named = [of[at] for at in range(len(keys))]
    return select(*named, *(one.label(f"p{percent}") for one, percent in zip(found, _PERCENTS, strict=True))).group_by(
        *named
    )


async def _found(
    connection: AsyncConnection, dialect: Dialect, percentiles: bool, build: Callable[[Aggregate], Select[Any]]
) -> dict[tuple[Any, ...], UsageTotals]:
    """The totals by the values of the keys, without keys that no call has."""
    of_engine, apart = _ranking(dialect, percentiles)
    rows = (await connection.execute(build(partial(_added_up, of_engine)))).all()
    ranks = await _ranks(connection, build(_ranked)) if apart else {}
    keys = {row: tuple(row)[: row._fields.index("calls")] for row in rows if row.calls}
    return {key: _totals(row, ranks.get(key)) for row, key in keys.items()}


async def _ranks(connection: AsyncConnection, statement: Select[Any]) -> Mapping[tuple[Any, ...], Sequence[Any]]:
    width = len(_PERCENTS)
    return {tuple(row)[:-width]: tuple(row)[-width:] for row in await connection.execute(statement)}


def _totals(row: Row[Any], ranks: Sequence[Any] | None) -> UsageTotals:
    found = row._mapping
    percentiles = ranks or [found.get(f"p{percent}") for percent in _PERCENTS]
    p50, p95 = (None if one is None else float(one) / 1000 for one in percentiles)
    return replace(
        _summed(found),
        mean_seconds=row.mean_seconds,
        mean_tokens_per_second=row.mean_tokensPerSecond,
        mean_first_token_seconds=row.mean_firstTokenSeconds,
        first_token_p50=p50,
        first_token_p95=p95,
    )


def _summed(found: Mapping[Any, Any]) -> UsageTotals:
    """The sums, by the names of `_ADDED_UP`; NULL is a sum of nothing."""
    return UsageTotals(
        calls=int(found["calls"] or 0),
        failed=int(found["failed"] or 0),
        unpriced=int(found["unpriced"] or 0),
        estimated=int(found["estimated"] or 0),
        prompt_tokens=int(found["promptTokens"] or 0),
        completion_tokens=int(found["completionTokens"] or 0),
        cached_tokens=int(found["cachedTokens"] or 0),
        reasoning_tokens=int(found["reasoningTokens"] or 0),
        input_cost=found["inputCost"] or Decimal(0),
        output_cost=found["outputCost"] or Decimal(0),
        total_cost=found["totalCost"] or Decimal(0),
    )
