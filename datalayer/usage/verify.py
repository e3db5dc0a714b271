"""Looks at every call once more: what it cost is reckoned anew, and what is shown of all is compared with their rows.

Rows go by in pages, so that any number of them takes the same memory, and what is found is told at once. Nothing here
uses what the statistics are made with: sums are added up one by one, and costs come of the price that the call keeps.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from sqlalchemy import and_, exists, func, select, true

from datalayer.database import Database
from datalayer.history.deletion import let_go_of_calls
from datalayer.records.usage import LlmCall, UsageTotals
from datalayer.schema.chat import threads, users
from datalayer.schema.usage import llm_calls
from datalayer.usage import calls as usage_calls
from datalayer.usage import statistics

EXACT_TO = Decimal("1E-9")
"""US dollars. So near a cost must be to its tokens times their price."""
_MILLION = Decimal(1_000_000)
_TRIES = 3

Problem = Literal["cost", "total", "sums", "nowhere"]


@dataclass(frozen=True, slots=True)
class UsageProblem:
    """One thing that is wrong with what is kept of calls: a `cost` that is not its tokens times its price, a `total`
    that is not the sum of its parts, `sums` that are not those of the rows, or calls that point `nowhere`: to a user or
    a thread that is gone."""

    kind: Problem
    words: str
    call_id: str | None = None
    repaired: bool = False


@dataclass(slots=True)
class UsageReport:
    """How many calls were looked at, what they come to added up one by one, and how many problems there are."""

    calls: int = 0
    totals: UsageTotals = field(default_factory=UsageTotals)
    problems: Counter[Problem] = field(default_factory=Counter)
    repaired: Counter[Problem] = field(default_factory=Counter)
    is_compared: bool = False
    """Whether the sums could be compared; not where calls came in faster than they were looked at."""

    @property
    def left(self) -> int:
        """How many problems are not repaired."""
        return self.problems.total() - self.repaired.total()


class UsageCheck:
    """One look at all calls of one database."""

    def __init__(self, database: Database, *, found: Callable[[UsageProblem], None] = lambda _problem: None) -> None:
        """`found` is told each problem at once."""
        self._database, self._found = database, found
        self._report = UsageReport()

    async def run(self, *, repair: bool = False) -> UsageReport:
        """Look at every call; `repair` takes ids out of those that point nowhere, and deletes what was said in them.

        A cost is never changed here: pricing calls anew is for whoever knows the prices.
        """
        told: set[str] = set()
        for _ in range(_TRIES):
            before = await self._shown()
            self._report.calls, sums = 0, _Sums()
            async for row in usage_calls.export(self._database, true()):
                self._report.calls += 1
                sums.add(row.call)
                if row.call.id not in told and (problem := cost_problem(row.call)) is not None:
                    told.add(row.call.id)
                    self._tell(problem)
            self._report.totals = sums.totals
            if before == await self._shown():
                self._report.is_compared = True
                self._compare(before, sums.totals)
                break
        await self._look_for_whom(repair)
        return self._report

    async def _shown(self) -> UsageTotals:
        dialect = self._database.dialect
        return await self._database.query(lambda connection: statistics.totals(connection, dialect, true()))

    def _compare(self, shown: UsageTotals, added_up: UsageTotals) -> None:
        for name in _Sums.NAMES:
            if getattr(shown, name) != getattr(added_up, name):
                self._tell(
                    UsageProblem(
                        "sums",
                        f"{name.replace('_', ' ')}: {getattr(shown, name)} is shown, "
                        f"and the rows come to {getattr(added_up, name)}",
                    )
                )

    async def _look_for_whom(self, repair: bool) -> None:
        for table, column in ((users, llm_calls.c.userId), (threads, llm_calls.c.threadId)):
            gone = and_(column.is_not(None), ~exists(select(table.c.id).where(table.c.id == column)))
            statement = select(func.count()).select_from(llm_calls).where(gone)
            async with self._database.read() as connection:
                count = (await connection.execute(statement)).scalar_one()
            if not count:
                continue
            if repair:
                async with self._database.write() as connection:
                    await let_go_of_calls(connection, gone, {column.name: None})
            self._tell(UsageProblem("nowhere", f"{count} calls are of {table.name} that are gone", repaired=repair))

    def _tell(self, problem: UsageProblem) -> None:
        self._report.problems[problem.kind] += 1
        self._report.repaired[problem.kind] += problem.repaired
        self._found(problem)


def cost_problem(call: LlmCall) -> UsageProblem | None:
    """What is wrong with what the call cost, by the tokens and the price that it keeps itself."""
    costs = (call.input_cost, call.output_cost, call.total_cost)
    known = [cost for cost in costs if cost is not None]
    if known and (len(known) < len(costs) or call.input_cost + call.output_cost != call.total_cost):  # type: ignore[operator]
        shown = " + ".join("unknown" if cost is None else f"{cost:f}" for cost in costs[:2])
        return UsageProblem("total", f"{shown} is not {call.total_cost}", call.id)
    if not known or call.price is None:
        return None
    try:
        due = costs_by(call.price, call)
    except (InvalidOperation, TypeError, ValueError, AttributeError):
        return UsageProblem("cost", "the price that it keeps is not understood", call.id)
    for what, cost, amount in zip(("input", "output"), costs[:2], due, strict=True):
        if cost is None or abs(cost - amount) > EXACT_TO:
            return UsageProblem("cost", f"its {what} cost {cost} dollars, and its price says {amount:f}", call.id)
    return None


def costs_by(price: Mapping[str, Any], call: LlmCall) -> tuple[Decimal, Decimal]:
    """What the call's input and output come to by the price that it keeps: dollars for a million tokens, cached ones
    apart where the price has them apart, for each image, and for the request."""
    rate = {name: Decimal(str(price.get(name) or 0)) for name in ("input", "output", "image", "images", "request")}
    cached_rate = Decimal(str(price["cached"])) if price.get("cached") is not None else rate["input"]
    prompt = call.prompt_tokens or 0
    cached = min(call.cached_tokens or 0, prompt)
    for_input = (rate["input"] * (prompt - cached) + cached_rate * cached) / _MILLION
    for_output = rate["output"] * (call.completion_tokens or 0) / _MILLION
    return for_input + rate["image"] * rate["images"] + rate["request"], for_output


class _Sums:
    """Added up one by one."""

    NAMES = (
        *("calls", "failed", "unpriced", "estimated"),
        *("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"),
        *("input_cost", "output_cost", "total_cost"),
    )

    def __init__(self) -> None:
        self._sums: dict[str, Any] = dict.fromkeys(self.NAMES, 0)

    @property
    def totals(self) -> UsageTotals:
        """Without means and percentiles."""
        costs = {name: Decimal(self._sums[name]) for name in self.NAMES if name.endswith("cost")}
        return replace(UsageTotals(), **self._sums | costs)

    def add(self, call: LlmCall) -> None:
        has_tokens = (call.prompt_tokens or 0) + (call.completion_tokens or 0) > 0
        counted = {
            "calls": 1,
            "failed": call.has_failed,
            "unpriced": call.total_cost is None and has_tokens,
            "estimated": call.is_estimated,
        }
        for name in self.NAMES:
            self._sums[name] += counted[name] if name in counted else getattr(call, name) or 0
