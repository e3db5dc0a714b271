"""SQL of repricing: recalculates the costs of stored calls by the prices of their time that are known today."""

from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from typing import Any, Protocol

from sqlalchemy import and_, bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.database import Database
from datalayer.records.usage import LlmCall
from datalayer.schema.rows import columns, record_of
from datalayer.schema.usage import llm_calls

AT_ONCE = 1_000
_COLUMNS = columns(LlmCall, llm_calls)
_calls = llm_calls.c


class CallCosts(Protocol):
    """The cost of a call in US dollars, and the price that it was calculated with."""

    @property
    def input(self) -> Decimal: ...
    @property
    def output(self) -> Decimal: ...
    @property
    def total(self) -> Decimal: ...
    @property
    def price(self) -> dict[str, Any]: ...


CostOf = Callable[[LlmCall], CallCosts | None]


async def with_tokens(database: Database, since: str) -> AsyncIterator[Sequence[LlmCall]]:
    """The calls with tokens since a time, oldest first, `AT_ONCE` at a time."""
    after: tuple[str, str] | None = None
    while True:
        statement = (
            select(*_COLUMNS)
            .where(_calls.requestedAt >= since, _calls.promptTokens.is_not(None))
            .order_by(_calls.requestedAt, _calls.id)
            .limit(AT_ONCE)
        )
        if after is not None:
            moment, call_id = after
            same_time = and_(_calls.requestedAt == moment, _calls.id > call_id)
            statement = statement.where(or_(_calls.requestedAt > moment, same_time))
        found = await database.query(lambda connection, wanted=statement: connection.execute(wanted))  # type: ignore[misc]
        calls = [record_of(LlmCall, llm_calls, row) for row in found.mappings()]
        if not calls:
            return
        yield calls
        after = (calls[-1].requested_at, calls[-1].id)


async def count_without_tokens(connection: AsyncConnection, since: str) -> int:
    """How many calls since a time have no tokens and therefore no cost."""
    statement = select(func.count()).where(_calls.requestedAt >= since, _calls.promptTokens.is_(None))
    return int((await connection.execute(statement)).scalar_one())


def is_changed(call: LlmCall, costs: CallCosts) -> bool:
    """Whether these costs differ from those of the call."""
    return (costs.input, costs.output) != (call.input_cost, call.output_cost)


async def store(connection: AsyncConnection, costs: Sequence[tuple[str, CallCosts]]) -> None:
    """Store new costs by the ids of the calls."""
    statement = (
        update(llm_calls)
        .where(_calls.id == bindparam("call"))
        .values(
            inputCost=bindparam("new_input"),
            outputCost=bindparam("new_output"),
            totalCost=bindparam("new_total"),
            price=bindparam("new_price"),
        )
    )
    values = [
        {"call": call, "new_input": new.input, "new_output": new.output, "new_total": new.total, "new_price": new.price}
        for call, new in costs
    ]
    await connection.execute(statement, values)


async def forget(connection: AsyncConnection, unlisted: Sequence[LlmCall]) -> None:
    """Set the costs of the calls to unknown."""
    statement = (
        update(llm_calls)
        .where(_calls.id == bindparam("call"))
        .values(inputCost=None, outputCost=None, totalCost=None, price=bindparam("left"))
    )
    await connection.execute(statement, [{"call": call.id, "left": _without_amounts(call)} for call in unlisted])


def _without_amounts(call: LlmCall) -> dict[str, Any] | None:
    # Neither is stored elsewhere; a later price may be per image, or of the service tier.
    price = call.price or {}
    return {name: price[name] for name in ("images", "service_tier") if price.get(name)} or None
