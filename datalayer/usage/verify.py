"""Checks all calls: their numbers of tokens, their costs, and the totals of the statistics against the rows.

Rows are read in pages, so that memory does not grow with their number, and problems are reported as they are found. The
check does not share code with the statistics: it adds rows up one by one, and uses the price stored with each call.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from sqlalchemy import and_, exists, func, select, true

from datalayer.database import Database
from datalayer.history.deletion import detach_calls
from datalayer.records.usage import EMBEDDED_PROVIDER, LlmCall, UsageTotals
from datalayer.schema.chat import threads, users
from datalayer.schema.usage import llm_calls
from datalayer.usage import calls as usage_calls
from datalayer.usage import statistics

EXACT_TO = Decimal("1E-9")
"""US dollars. The largest difference between a cost and its tokens times their price."""
_MILLION = Decimal(1_000_000)
_TRIES = 3

Problem = Literal["cost", "total", "tokens", "sums", "nowhere"]


@dataclass(frozen=True, slots=True)
class UsageProblem:
    """A problem of the stored calls.

    The kinds are "cost" (a cost is not its tokens times their price), "total" (a total is not the sum of its parts),
    "tokens" (the numbers of tokens of a call contradict each other or its text), "sums" (totals of the statistics
    differ from those of the rows) and "nowhere" (calls refer to a deleted user or thread). `words` describes it for
    people.
    """

    kind: Problem
    words: str
    call_id: str | None = None
    repaired: bool = False


@dataclass(slots=True)
class UsageReport:
    """How many calls were checked, their totals added up one by one, and the numbers of problems."""

    calls: int = 0
    totals: UsageTotals = field(default_factory=UsageTotals)
    problems: Counter[Problem] = field(default_factory=Counter)
    repaired: Counter[Problem] = field(default_factory=Counter)
    is_compared: bool = False
    """Whether the sums were compared; False if calls arrived during each of the three tries."""

    @property
    def left(self) -> int:
        """The number of problems that are not repaired."""
        return self.problems.total() - self.repaired.total()


class UsageCheck:
    """One check of all calls of a database."""

    def __init__(self, database: Database, *, found: Callable[[UsageProblem], None] = lambda _problem: None) -> None:
        """`found` is called with each problem as soon as it is found."""
        self._database, self._found = database, found
        self._report = UsageReport()

    async def run(self, *, repair: bool = False) -> UsageReport:
        """Check every call. `repair` removes ids of deleted users and threads from calls, and the payloads of those.

        Costs are never changed here: repricing needs the prices, which the check does not have.
        """
        reported: set[str] = set()
        for _ in range(_TRIES):
            before = await self._shown()
            self._report.calls, sums = 0, _Sums()
            async for row in usage_calls.export(self._database, true()):
                self._report.calls += 1
                sums.add(row.call)
                found = [one for one in (token_problem(row.call), cost_problem(row.call)) if one is not None]
                if found and row.call.id not in reported:
                    reported.add(row.call.id)
                    for problem in found:
                        self._report_problem(problem)
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
                self._report_problem(
                    UsageProblem(
                        "sums",
                        f"{name.replace('_', ' ')}: the statistics show {getattr(shown, name)}, "
                        f"and the rows add up to {getattr(added_up, name)}",
                    )
                )

    async def _look_for_whom(self, repair: bool) -> None:
        for table, column in ((users, llm_calls.c.userId), (threads, llm_calls.c.threadId)):
            is_missing = and_(column.is_not(None), ~exists(select(table.c.id).where(table.c.id == column)))
            statement = select(func.count()).select_from(llm_calls).where(is_missing)
            async with self._database.read() as connection:
                count = (await connection.execute(statement)).scalar_one()
            if not count:
                continue
            if repair:
                async with self._database.write() as connection:
                    await detach_calls(connection, is_missing, {column.name: None})
            self._report_problem(
                UsageProblem("nowhere", f"calls that refer to missing {table.name}: {count}", repaired=repair)
            )

    def _report_problem(self, problem: UsageProblem) -> None:
        self._report.problems[problem.kind] += 1
        self._report.repaired[problem.kind] += problem.repaired
        self._found(problem)


def token_problem(call: LlmCall) -> UsageProblem | None:
    """The contradiction in the call's numbers of tokens; None if there is none.

    Older versions stored reports of a server as they came: with thought that is not counted as output, or with zeros.
    """
    prompt, completion = call.prompt_tokens, call.completion_tokens
    if prompt is None and completion is None:
        return None
    # The embedding model of this machine counts no tokens.
    is_uncounted = call.kind == "embedding" and call.provider == EMBEDDED_PROVIDER and prompt == 0
    contradictions = [
        (completion is not None and (call.reasoning_tokens or 0) > completion,
         f"{call.reasoning_tokens} reasoning tokens are more than the {completion} output tokens that contain them"),
        (prompt is not None and (call.cached_tokens or 0) > prompt,
         f"{call.cached_tokens} cached tokens are more than the {prompt} input tokens that contain them"),
        (not completion and call.response_characters > 0,
         f"no output tokens for an answer with {call.response_characters} characters"),
        (not prompt and call.query_characters > 0 and not is_uncounted,
         f"no input tokens for a question with {call.query_characters} characters"),
    ]  # fmt: skip
    found = [words for is_so, words in contradictions if is_so]
    return UsageProblem("tokens", "; ".join(found), call.id) if found else None


def cost_problem(call: LlmCall) -> UsageProblem | None:
    """The problem with the call's costs, by the tokens and the price stored with it; None if there is none."""
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
        return UsageProblem("cost", "the price stored with the call cannot be read", call.id)
    for what, cost, amount in zip(("input", "output"), costs[:2], due, strict=True):
        if cost is None or abs(cost - amount) > EXACT_TO:
            return UsageProblem(
                "cost", f"the {what} cost is {cost} dollars, but by the stored price it is {amount:f}", call.id
            )
    return None


def costs_by(price: Mapping[str, Any], call: LlmCall) -> tuple[Decimal, Decimal]:
    """The costs of the call's input and output by the price stored with it.

    The price has the keys "input", "output", "cached" (each in US dollars per million tokens; without "cached", cached
    tokens cost as much as others), "image" (per image), "images" (their number) and "request" (per call).
    """
    rate = {name: Decimal(str(price.get(name) or 0)) for name in ("input", "output", "image", "images", "request")}
    cached_rate = Decimal(str(price["cached"])) if price.get("cached") is not None else rate["input"]
    prompt = call.prompt_tokens or 0
    cached = min(call.cached_tokens or 0, prompt)
    for_input = (rate["input"] * (prompt - cached) + cached_rate * cached) / _MILLION
    for_output = rate["output"] * (call.completion_tokens or 0) / _MILLION
    return for_input + rate["image"] * rate["images"] + rate["request"], for_output


class _Sums:
    """Totals, added up call by call."""

    NAMES = (
        *("calls", "failed", "unpriced", "estimated"),
        *("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"),
        *("input_cost", "output_cost", "total_cost"),
    )

    def __init__(self) -> None:
        self._sums: dict[str, Any] = dict.fromkeys(self.NAMES, 0)

    @property
    def totals(self) -> UsageTotals:
        """The totals without means and percentiles."""
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
