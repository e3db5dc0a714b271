"""SQL of repricing: recalculates the costs of stored calls by the prices of their time that are known today."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Protocol

from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.database import Database
from datalayer.records.billing import ModelRepricing, Repricing
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


def chosen(since: str, until: str | None, models: Sequence[str]) -> ColumnElement[bool]:
    """The condition for calls from `since` to before `until`, to these models if there are any."""
    conditions = [_calls.requestedAt >= since]
    if until is not None:
        conditions.append(_calls.requestedAt < until)
    if models:
        conditions.append(_calls.model.in_(models))
    return and_(*conditions)


async def with_tokens(database: Database, which: ColumnElement[bool]) -> AsyncIterator[Sequence[LlmCall]]:
    """The calls with tokens that match, oldest first, `AT_ONCE` at a time."""
    after: tuple[str, str] | None = None
    while True:
        statement = (
            select(*_COLUMNS)
            .where(which, _calls.promptTokens.is_not(None))
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


async def count_without_tokens(connection: AsyncConnection, which: ColumnElement[bool]) -> int:
    """How many calls that match have no tokens and therefore no cost."""
    statement = select(func.count()).where(which, _calls.promptTokens.is_(None))
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


class Summary:
    """Adds up the changes of a repricing.

    Args:
        without_tokens: how many calls are left out.
        forget: whether calls without a price lose their cost.
    """

    def __init__(self, without_tokens: int, *, forget: bool) -> None:
        self._totals = Repricing(without_tokens=without_tokens)
        self._models: dict[tuple[str, str | None], ModelRepricing] = {}
        self._forget = forget
        self._hash = hashlib.sha256()

    def add(
        self, calls: Sequence[LlmCall], new: Sequence[tuple[LlmCall, CallCosts]], unlisted: Sequence[LlmCall]
    ) -> None:
        """Add the calls of one step: those that get other costs, and those with a cost and no price."""
        self._totals = replace(self._totals, calls=self._totals.calls + len(calls))
        for call, costs in new:
            self._count(call, changed=1, had_none=int(call.total_cost is None), after=costs.total)
            self._note(call, costs.input, costs.output)
        for call in unlisted:
            self._count(call, unlisted=1, unlisted_cost=call.total_cost or Decimal(0))
            if self._forget:
                self._note(call, None, None)

    @property
    def repricing(self) -> Repricing:
        models = sorted(self._models.values(), key=lambda one: (-one.changed - one.unlisted, one.model))
        return replace(self._totals, by_model=tuple(models), fingerprint=self._hash.hexdigest())

    def _count(self, call: LlmCall, *, changed: int = 0, **amounts: Any) -> None:
        added = {"changed": changed, "before": (call.total_cost or Decimal(0)) if changed else Decimal(0), **amounts}
        names = (call.model, call.provider)
        one = self._models.get(names) or ModelRepricing(*names)
        self._models[names] = replace(one, **{name: getattr(one, name) + value for name, value in added.items()})
        totals = {name: getattr(self._totals, name) + value for name, value in added.items()}
        self._totals = replace(self._totals, **totals)

    def _note(self, call: LlmCall, new_input: Decimal | None, new_output: Decimal | None) -> None:
        amounts = (call.input_cost, call.output_cost, new_input, new_output)
        texts = ("-" if amount is None else f"{amount.normalize():f}" for amount in amounts)
        self._hash.update(f"{call.id} {' '.join(texts)}\n".encode())


def _without_amounts(call: LlmCall) -> dict[str, Any] | None:
    # Neither is stored elsewhere; a later price may be per image, or of the service tier.
    price = call.price or {}
    return {name: price[name] for name in ("images", "service_tier") if price.get(name)} or None
