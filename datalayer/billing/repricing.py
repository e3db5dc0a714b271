"""Prices calls anew that are kept: what they cost by what is known today of the prices of their time."""

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
    """What a call came to, in US dollars, and the price that says so."""

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
    """The calls from that time on that have tokens, oldest first, so many at once."""
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
    """How many calls from that time on have no tokens, and so nothing that a price could be for."""
    statement = select(func.count()).where(_calls.requestedAt >= since, _calls.promptTokens.is_(None))
    return int((await connection.execute(statement)).scalar_one())


def is_changed(call: LlmCall, costs: CallCosts) -> bool:
    """Whether these are other costs than the call has."""
    return (costs.input, costs.output) != (call.input_cost, call.output_cost)


async def store(connection: AsyncConnection, costs: Sequence[tuple[str, CallCosts]]) -> None:
    """Give the calls of these ids their new costs."""
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
    """Let what the calls cost be unknown."""
    statement = (
        update(llm_calls)
        .where(_calls.id == bindparam("call"))
        .values(inputCost=None, outputCost=None, totalCost=None, price=bindparam("left"))
    )
    await connection.execute(statement, [{"call": call.id, "left": _without_amounts(call)} for call in unlisted])


def _without_amounts(call: LlmCall) -> dict[str, Any] | None:
    # Nothing else says how many pictures there were, once there is a price for them.
    images = (call.price or {}).get("images")
    return {"images": images} if images else None
