"""Limits: what may be used in a day or a month, and how much of it is used or promised to calls under way."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.billing.spending import Budget, Spent, amount_used
from datalayer.errors import NotFound
from datalayer.periods import period_around
from datalayer.records.usage import CallDemand, Limit, LimitReached, LimitStanding, Reservation
from datalayer.schema.rows import columns, given, record_of
from datalayer.schema.usage import usage_limits, usage_reservations

LEAST_ANSWER = 16
"""Tokens. Where fewer are left, an answer is not worth its question."""

_COLUMNS = columns(Limit, usage_limits)
_promised = usage_reservations.c
_PROMISED = {"tokens": func.sum(_promised.tokens), "dollars": func.sum(_promised.cost)}


async def list_all(connection: AsyncConnection) -> list[Limit]:
    statement = select(*_COLUMNS).order_by(usage_limits.c.createdAt, usage_limits.c.id)
    return [record_of(Limit, usage_limits, row) for row in (await connection.execute(statement)).mappings()]


async def put(connection: AsyncConnection, limit: Limit) -> str:
    """Store the limit; one that says the same of another amount gets this one. Gives the id."""
    table = usage_limits.c
    same = and_(
        table.scope == limit.scope,
        table.subjectId == limit.subject_id if limit.subject_id else table.subjectId.is_(None),
        table.period == limit.period,
        table.unit == limit.unit,
    )
    changed = update(usage_limits).where(same).values(amount=limit.amount).returning(table.id)
    there: str | None = (await connection.execute(changed)).scalar()
    if there is None:
        await connection.execute(insert(usage_limits).values(**given(limit, usage_limits)))
    return there or limit.id


async def remove(connection: AsyncConnection, limit_id: str) -> None:
    """Raises NotFound where there is no such limit."""
    if (await connection.execute(delete(usage_limits).where(usage_limits.c.id == limit_id))).rowcount == 0:
        raise NotFound("there is no such limit")


def budget_of(limit: Limit, user_id: str | None, project_id: str | None, *, zone: str, moment: str) -> Budget:
    """What counts for the limit, of this user or this project."""
    begin, _ = period_around(moment, limit.period, zone)
    if limit.scope == "project":
        return Budget("project", project_id, limit.unit, begin)
    return Budget("user", user_id, limit.unit, begin)


def concerns(limit: Limit, user_id: str | None, project_id: str | None) -> bool:
    """Whether a call of this user in this project is under the limit, or would be if the user had none of their own."""
    if limit.scope == "project":
        return limit.subject_id == project_id
    return user_id is not None and limit.subject_id in (None, user_id)


def takes_the_place_of(limit: Limit, other: Limit) -> bool:
    """Whether the other, for each user, does not hold for the one who has this limit."""
    is_personal = limit.scope == "user" and other.scope == "users"
    return is_personal and (limit.period, limit.unit) == (other.period, other.unit)


async def standings(
    connection: AsyncConnection,
    user_id: str | None,
    project_id: str | None,
    *,
    zone: str,
    moment: str,
    spent: Mapping[Budget, Spent] | None = None,
    reserving: str | None = None,
) -> list[LimitStanding]:
    """How far each limit of this user and this project is used up now; a user's own one takes the place of the one for
    each user.

    What is `spent` up to a while ago is not added up again. For a call that is `reserving`, what it has reserved
    already does not count, and the limits stay locked until the transaction ends, so that two who ask at once are
    answered one after the other.
    """
    table = usage_limits.c
    concerned: list[ColumnElement[bool]] = [and_(table.scope == "project", table.subjectId == project_id)]
    if user_id is not None:
        concerned += [table.scope == "users", and_(table.scope == "user", table.subjectId == user_id)]
    statement = select(*_COLUMNS).where(or_(*concerned)).order_by(table.id)
    if reserving is not None:
        statement = statement.with_for_update()
    rows = (await connection.execute(statement)).mappings().all()
    limits = [record_of(Limit, usage_limits, row) for row in rows]
    found = []
    for limit in limits:
        if any(takes_the_place_of(own, limit) for own in limits):
            continue
        budget = budget_of(limit, user_id, project_id, zone=zone, moment=moment)
        _, end = period_around(moment, limit.period, zone)
        before = (spent or {}).get(budget, Spent(budget.begin, Decimal(0)))
        column = _promised.projectId if budget.whose == "project" else _promised.userId
        promised = select(_PROMISED[limit.unit]).where(column == budget.subject_id, _promised.expiresAt > moment)
        if reserving is not None:
            promised = promised.where(_promised.id != reserving)
        # In one statement: between two, a call that ends elsewhere could go from the second into the first, unseen.
        since_then = amount_used(budget, before.until, end)
        both = select(since_then.scalar_subquery(), promised.scalar_subquery())
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
    """Set aside what the call may come to at most: its question, and as long an answer as it wants and may have."""
    found = await standings(
        connection,
        demand.user_id,
        demand.project_id,
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
            tokens=reservation.tokens,
            cost=cost,
            expiresAt=expires_at,
        )
    )
    return reservation


def _room(standing: LimitStanding, demand: CallDemand) -> int | None:
    """How many tokens the answer may have at most under this limit; None where nobody knows what they cost."""
    if standing.limit.unit == "tokens":
        return int(standing.left) - demand.prompt_tokens
    if demand.prompt_cost is None or demand.answer_token_cost is None:
        return None
    left = standing.left - demand.prompt_cost
    if demand.answer_token_cost == 0:
        return demand.answer_tokens if left >= 0 else -1
    return int(left / demand.answer_token_cost)


async def extend(connection: AsyncConnection, call_id: str, *, expires_at: str) -> None:
    """Let what was reserved under this id count until then; what was released stays so."""
    await connection.execute(update(usage_reservations).where(_promised.id == call_id).values(expiresAt=expires_at))


async def release(connection: AsyncConnection, ids: Sequence[str], *, moment: str) -> None:
    """Give back what was reserved under these ids, and what processes that are gone had reserved."""
    over = or_(_promised.id.in_(ids), _promised.expiresAt <= moment)
    await connection.execute(delete(usage_reservations).where(over))
