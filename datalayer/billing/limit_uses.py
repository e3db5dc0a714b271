"""SQL of the list of limits: whose each one is, and what is used of it now, in one statement."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cursors import decode, encode
from datalayer.periods import period_around
from datalayer.records.billing import LimitPage, LimitUse
from datalayer.records.usage import Limit
from datalayer.schema.chat import users
from datalayer.schema.keys import api_keys
from datalayer.schema.rows import columns, record_of
from datalayer.schema.usage import llm_calls, projects, usage_limits, usage_reservations
from datalayer.usage.filters import TOKENS

_table = usage_limits.c
_SUBJECTS = {"user": "userId", "project": "projectId", "key": "keyId"}


async def page(
    connection: AsyncConnection, *, scopes: Sequence[str], zone: str, moment: str, cursor: str | None, limit: int
) -> LimitPage:
    """A page of the limits, oldest first; of these scopes, or of all."""
    begins = {period: period_around(moment, period, zone) for period in ("day", "month")}
    begin = case((_table.period == "day", begins["day"][0]), else_=begins["month"][0])
    calls, reserved = llm_calls.c, usage_reservations.c

    def summed(table: Table, unit: str, amount: ColumnElement[Any], current: ColumnElement[bool]) -> ColumnElement[Any]:
        # The engine computes only the sum of the scope and unit of the row.
        return case(
            *(
                (
                    and_(_table.scope == scope, _table.unit == unit),
                    select(func.sum(amount))
                    .where(table.c[column] == _table.subjectId, current)
                    .correlate(usage_limits)
                    .scalar_subquery(),
                )
                for scope, column in _SUBJECTS.items()
            )
        )

    recent, valid = calls.requestedAt >= begin, reserved.expiresAt > moment
    statement = (
        select(
            *columns(Limit, usage_limits),
            func.coalesce(users.c.identifier, projects.c.name, api_keys.c.name).label("subject"),
            func.coalesce(projects.c.slug, api_keys.c.prefix).label("known_as"),
            summed(llm_calls, "tokens", TOKENS, recent).label("used_tokens"),
            summed(llm_calls, "dollars", calls.totalCost, recent).label("used_dollars"),
            summed(usage_reservations, "tokens", reserved.tokens, valid).label("reserved_tokens"),
            summed(usage_reservations, "dollars", reserved.cost, valid).label("reserved_dollars"),
        )
        .select_from(
            usage_limits.outerjoin(users, and_(_table.scope == "user", users.c.id == _table.subjectId))
            .outerjoin(projects, and_(_table.scope == "project", projects.c.id == _table.subjectId))
            .outerjoin(api_keys, and_(_table.scope == "key", api_keys.c.id == _table.subjectId))
        )
        .order_by(_table.createdAt, _table.id)
        .limit(limit + 1)
    )
    if scopes:
        statement = statement.where(_table.scope.in_(scopes))
    if cursor is not None:
        created_at, limit_id = decode(cursor, str, str)
        same = and_(_table.createdAt == created_at, _table.id > limit_id)
        statement = statement.where(or_(_table.createdAt > created_at, same))
    rows = (await connection.execute(statement)).mappings().all()
    uses = []
    for row in rows[:limit]:
        one = record_of(Limit, usage_limits, row)
        is_for_each = one.subject_id is None
        used, in_flight = (Decimal(row[f"{name}_{one.unit}"] or 0) for name in ("used", "reserved"))
        uses.append(
            LimitUse(
                one,
                row["subject"],
                row["known_as"],
                None if is_for_each else used,
                None if is_for_each else in_flight,
                begins[one.period][1],
            )
        )
    last = uses[-1].limit if len(rows) > limit else None
    return LimitPage(tuple(uses), encode(last.created_at or "", last.id) if last else None)
