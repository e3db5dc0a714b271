"""SQL of limits: their current use, and reservations for calls in progress."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.billing.spending import Budget, Spent, amount_used
from datalayer.conditions import Condition, demand_unchanged
from datalayer.errors import NotFound
from datalayer.periods import period_around
from datalayer.records.usage import CallDemand, Limit, LimitReached, LimitStanding, Reservation
from datalayer.schema.chat import migrations
from datalayer.schema.rows import columns, given, record_of
from datalayer.schema.usage import usage_limits, usage_reservations

LEAST_ANSWER = 16
"""Tokens. If a limit leaves fewer for the answer, the call is refused."""

_COLUMNS = columns(Limit, usage_limits)
_reserved = usage_reservations.c
_RESERVED = {"tokens": func.sum(_reserved.tokens), "dollars": func.sum(_reserved.cost)}
_RESERVED_FOR: dict[str, ColumnElement[Any]] = {
    "user": _reserved.userId,
    "project": _reserved.projectId,
    "key": _reserved.keyId,
}


async def list_all(connection: AsyncConnection) -> list[Limit]:
    statement = select(*_COLUMNS).order_by(usage_limits.c.createdAt, usage_limits.c.id)
    return [record_of(Limit, usage_limits, row) for row in (await connection.execute(statement)).mappings()]


async def get(connection: AsyncConnection, limit_id: str, *, lock: bool = False) -> Limit | None:
    statement = select(*_COLUMNS).where(usage_limits.c.id == limit_id)
    row = (await connection.execute(statement.with_for_update() if lock else statement)).mappings().first()
    return None if row is None else record_of(Limit, usage_limits, row)


async def demand(connection: AsyncConnection, limit_id: str, only_if: Condition[Limit] | None) -> None:
    """Require that the limit is as the condition wants it, and lock it.

    Raises:
        NotFound: there is no such limit.
        RecordChanged: it is another.
    """
    if only_if is not None:
        found = await get(connection, limit_id, lock=True)
        demand_unchanged(found, only_if, f"the limit {limit_id}")


async def put(connection: AsyncConnection, limit: Limit) -> Limit:
    """Store the limit, or its amount in a limit of the same scope, subject, period and unit; returns it as stored."""
    # Of two processes that store such limits, the second finds that of the first. This row always exists.
    turn = select(migrations.c.name).where(migrations.c.name == "account_for_calls").with_for_update()
    await connection.execute(turn)
    table = usage_limits.c
    same = and_(
        table.scope == limit.scope,
        table.subjectId == limit.subject_id if limit.subject_id else table.subjectId.is_(None),
        table.period == limit.period,
        table.unit == limit.unit,
    )
    changed = update(usage_limits).where(same).values(amount=limit.amount).returning(table.id, table.createdAt)
    there = (await connection.execute(changed)).first()
    if there is not None:
        return replace(limit, id=there.id, created_at=there.createdAt)
    await connection.execute(insert(usage_limits).values(**given(limit, usage_limits)))
    return limit


async def remove(connection: AsyncConnection, limit_id: str) -> None:
    """Remove the limit.

    Raises:
        NotFound: there is no such limit.
    """
    if (await connection.execute(delete(usage_limits).where(usage_limits.c.id == limit_id))).rowcount == 0:
        raise NotFound(f"the limit {limit_id} does not exist: list the limits to see their ids")


def budget_of(
    limit: Limit, user_id: str | None, project_id: str | None, key_id: str | None = None, *, zone: str, moment: str
) -> Budget:
    """The budget of this user, this project or this key in the limit's current period."""
    begin, _ = period_around(moment, limit.period, zone)
    if limit.scope == "project":
        return Budget("project", project_id, limit.unit, begin)
    if limit.scope == "key":
        return Budget("key", key_id, limit.unit, begin)
    return Budget("user", user_id, limit.unit, begin)


def concerns(limit: Limit, user_id: str | None, project_id: str | None, key_id: str | None = None) -> bool:
    """Whether the limit applies to a call of this user, project and key, personal limits of the user left aside."""
    if limit.scope == "project":
        return limit.subject_id == project_id
    if limit.scope == "key":
        return key_id is not None and limit.subject_id == key_id
    return user_id is not None and limit.subject_id in (None, user_id)


def takes_the_place_of(limit: Limit, other: Limit) -> bool:
    """Whether this personal limit replaces the other one, which is for each user."""
    is_personal = limit.scope == "user" and other.scope == "users"
    return is_personal and (limit.period, limit.unit) == (other.period, other.unit)


async def standings(
    connection: AsyncConnection,
    user_id: str | None,
    project_id: str | None,
    key_id: str | None = None,
    *,
    zone: str,
    moment: str,
    spent: Mapping[Budget, Spent] | None = None,
    reserving: str | None = None,
) -> list[LimitStanding]:
    """The current use of each limit of this user, project and key. A personal limit replaces the one for each user.

    Args:
        spent: known sums of the budgets up to a time; only later calls are added up.
        reserving: the id of a call that is about to reserve. Its earlier reservation does not count, and the limits
            are locked until the transaction ends, so that reservations at the same time wait for each other.
    """
    table = usage_limits.c
    concerned: list[ColumnElement[bool]] = [and_(table.scope == "project", table.subjectId == project_id)]
    if user_id is not None:
        concerned += [table.scope == "users", and_(table.scope == "user", table.subjectId == user_id)]
    if key_id is not None:
        concerned.append(and_(table.scope == "key", table.subjectId == key_id))
    statement = select(*_COLUMNS).where(or_(*concerned)).order_by(table.id)
    if reserving is not None:
        statement = statement.with_for_update()
    rows = (await connection.execute(statement)).mappings().all()
    limits = [record_of(Limit, usage_limits, row) for row in rows]
    found = []
    for limit in limits:
        if any(takes_the_place_of(own, limit) for own in limits):
            continue
        budget = budget_of(limit, user_id, project_id, key_id, zone=zone, moment=moment)
        _, end = period_around(moment, limit.period, zone)
        before = (spent or {}).get(budget, Spent(budget.begin, Decimal(0)))
        of_budget = _RESERVED_FOR[budget.scope] == budget.subject_id
        reserved = select(_RESERVED[limit.unit]).where(of_budget, _reserved.expiresAt > moment)
        if reserving is not None:
            reserved = reserved.where(_reserved.id != reserving)
        # In one statement. Between two, a call that ends elsewhere moves from reserved to spent and is in neither.
        since_then = amount_used(budget, before.until, end)
        both = select(since_then.scalar_subquery(), reserved.scalar_subquery())
        spent_since, in_flight = (Decimal(one or 0) for one in (await connection.execute(both)).one())
        found.append(LimitStanding(limit, before.amount + spent_since, in_flight, end))
    return found


async def reserve(
    connection: AsyncConnection,
    demand: CallDemand,
    *,
    zone: str,
    moment: str,
    expires_at: str,
    spent: Mapping[Budget, Spent] | None = None,
) -> Reservation | LimitReached:
    """Reserve the question and as much of the answer as the limits leave; or return the limit that is reached."""
    found = await standings(
        connection,
        demand.user_id,
        demand.project_id,
        demand.key_id,
        zone=zone,
        moment=moment,
        spent=spent,
        reserving=demand.call_id,
    )
    answer = demand.answer_tokens
    for standing in found:
        room = _room(standing, demand)
        if room is None:
            return LimitReached(standing, is_unpriced=True)
        if room < min(LEAST_ANSWER, demand.answer_tokens):
            return LimitReached(standing)
        if room < answer:
            answer = min(room, demand.short_answer_tokens)
    cost = None
    if demand.prompt_cost is not None and demand.answer_token_cost is not None:
        cost = demand.prompt_cost + answer * demand.answer_token_cost
    reservation = Reservation(demand.call_id, demand.prompt_tokens + answer, cost, tuple(found))
    await release(connection, [demand.call_id], moment=moment)
    await connection.execute(
        insert(usage_reservations).values(
            id=demand.call_id,
            userId=demand.user_id,
            projectId=demand.project_id,
            keyId=demand.key_id,
            tokens=reservation.tokens,
            cost=cost,
            expiresAt=expires_at,
        )
    )
    return reservation


def _room(standing: LimitStanding, demand: CallDemand) -> int | None:
    """How many tokens of an answer this limit leaves; None if the limit is in dollars and the price is unknown."""
    if standing.limit.unit == "tokens":
        return int(standing.left) - demand.prompt_tokens
    if demand.prompt_cost is None or demand.answer_token_cost is None:
        return None
    left = standing.left - demand.prompt_cost
    if demand.answer_token_cost == 0:
        return demand.answer_tokens if left >= 0 else -1
    return int(left / demand.answer_token_cost)


async def extend(connection: AsyncConnection, call_id: str, *, expires_at: str) -> None:
    """Extend the reservation of this id, unless it was released."""
    await connection.execute(update(usage_reservations).where(_reserved.id == call_id).values(expiresAt=expires_at))


async def release(connection: AsyncConnection, ids: Sequence[str], *, moment: str) -> None:
    """Delete the reservations of these ids, and expired ones of processes that have ended."""
    over = or_(_reserved.id.in_(ids), _reserved.expiresAt <= moment)
    await connection.execute(delete(usage_reservations).where(over))
