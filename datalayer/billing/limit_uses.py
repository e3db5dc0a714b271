"""SQL of the list of limits: whose each one is, and what is used of it now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.billing.limits import budget_of
from datalayer.billing.spending import Budget, Spent
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


@dataclass(frozen=True, slots=True)
class Listed:
    """The limits of a page with their subjects: name, and slug of a project or prefix of a key."""

    rows: tuple[tuple[Limit, str | None, str | None], ...]
    next_cursor: str | None

    def budgets(self, *, zone: str, moment: str) -> dict[str, Budget]:
        """What each limit counts, by its id, without limits of each person."""
        return {
            one.id: budget_of(one, *(one.subject_id,) * 3, zone=zone, moment=moment)
            for one, _, _ in self.rows
            if one.subject_id is not None
        }


async def page(connection: AsyncConnection, *, scopes: Sequence[str], cursor: str | None, limit: int) -> Listed:
    """A page of the limits, oldest first; of these scopes, or of all."""
    statement = (
        select(
            *columns(Limit, usage_limits),
            func.coalesce(users.c.identifier, projects.c.name, api_keys.c.name).label("subject"),
            func.coalesce(projects.c.slug, api_keys.c.prefix).label("known_as"),
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
        created_at, limit_id = decode(cursor, "limits", str, str)
        same = and_(_table.createdAt == created_at, _table.id > limit_id)
        statement = statement.where(or_(_table.createdAt > created_at, same))
    found = (await connection.execute(statement)).mappings().all()
    rows = tuple((record_of(Limit, usage_limits, row), row["subject"], row["known_as"]) for row in found[:limit])
    last = rows[-1][0] if len(found) > limit else None
    return Listed(rows, encode("limits", last.created_at or "", last.id) if last else None)


async def used(
    connection: AsyncConnection,
    listed: Listed,
    budgets: Mapping[str, Budget],
    spent: Mapping[Budget, Spent],
    *,
    zone: str,
    moment: str,
) -> LimitPage:
    """What is used of the limits now, in one statement.

    Args:
        listed: the limits.
        budgets: of the limits, by their ids.
        spent: known sums of the budgets up to a time; only later calls are added up.
    """
    before = {name: spent.get(one, Spent(one.begin, Decimal(0))) for name, one in budgets.items()}
    amounts: dict[str, tuple[Decimal, Decimal]] = {}
    if before:
        since = case(*((_table.id == name, one.until) for name, one in before.items()))
        calls, reserved = llm_calls.c, usage_reservations.c
        recent, valid = calls.requestedAt >= since, reserved.expiresAt > moment
        statement = select(
            _table.id,
            _table.unit,
            _summed(llm_calls, "tokens", TOKENS, recent).label("used_tokens"),
            _summed(llm_calls, "dollars", calls.totalCost, recent).label("used_dollars"),
            _summed(usage_reservations, "tokens", reserved.tokens, valid).label("reserved_tokens"),
            _summed(usage_reservations, "dollars", reserved.cost, valid).label("reserved_dollars"),
        ).where(_table.id.in_(before))
        for row in (await connection.execute(statement)).mappings():
            later, in_flight = (Decimal(row[f"{name}_{row['unit']}"] or 0) for name in ("used", "reserved"))
            amounts[row["id"]] = (before[row["id"]].amount + later, in_flight)
    uses = []
    for one, subject, known_as in listed.rows:
        spent_now, in_flight_now = amounts.get(one.id, (None, None))
        _, end = period_around(moment, one.period, zone)
        uses.append(LimitUse(one, subject, known_as, spent_now, in_flight_now, end))
    return LimitPage(tuple(uses), listed.next_cursor)


def _summed(table: Table, unit: str, amount: ColumnElement[Any], current: ColumnElement[bool]) -> ColumnElement[Any]:
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
