"""What was used in a period up to a while ago, remembered: of a busy month only the last quarter of an hour is added up
for each new call.

What lies behind that changes only by calls that are stored long after they were made (a spool that is replayed), or
priced anew; it is added up again after half an hour.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_in
from datalayer.database import Database
from datalayer.schema.usage import llm_calls
from datalayer.usage.filters import TOKENS

RECENT_SECONDS = 15 * 60.0
REMEMBERED_SECONDS = 30 * 60.0
_MOST_REMEMBERED = 10_000
_calls = llm_calls.c
_USED: dict[str, ColumnElement[Any]] = {
    "tokens": func.sum(TOKENS),
    "dollars": func.sum(_calls.totalCost),
}


@dataclass(frozen=True, slots=True)
class Budget:
    """Whose use is added up, in what, from when on."""

    whose: Literal["user", "project"]
    subject_id: str | None
    unit: Literal["tokens", "dollars"]
    begin: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What calls from the begin of a budget to before `until` came to."""

    until: str
    amount: Decimal


def amount_used(budget: Budget, since: str, until: str) -> Select[Any]:
    """Asks what the budget's calls from `since` to before `until` came to; NULL where there are none."""
    column = _calls.projectId if budget.whose == "project" else _calls.userId
    return select(_USED[budget.unit]).where(
        column == budget.subject_id, _calls.requestedAt >= since, _calls.requestedAt < until
    )


async def used(connection: AsyncConnection, budget: Budget, since: str, until: str) -> Decimal:
    """What the budget's calls from `since` to before `until` came to."""
    return Decimal((await connection.execute(amount_used(budget, since, until))).scalar() or 0)


class Spending:
    """What is remembered by one process of one database."""

    def __init__(self) -> None:
        self._spent: dict[Budget, tuple[float, Spent]] = {}
        self._lock = asyncio.Lock()

    async def so_far(self, database: Database, budgets: list[Budget]) -> Mapping[Budget, Spent]:
        """What each of the budgets came to up to a while ago; nothing of one that began only then."""
        until = utc_in(-RECENT_SECONDS)
        found = {}
        for budget in budgets:
            if budget.begin >= until:
                continue
            if self._is_old(budget):
                # Many ask at once when the time is up; one of them adds up.
                async with self._lock:
                    if self._is_old(budget):
                        await self._add_up(database, budget, until)
            found[budget] = self._spent[budget][1]
        return found

    def _is_old(self, budget: Budget) -> bool:
        known = self._spent.get(budget)
        return known is None or time.monotonic() - known[0] > REMEMBERED_SECONDS

    async def _add_up(self, database: Database, budget: Budget, until: str) -> None:
        if len(self._spent) >= _MOST_REMEMBERED:
            self._spent.clear()
        amount = await database.query(lambda connection: used(connection, budget, budget.begin, until))
        self._spent[budget] = (time.monotonic(), Spent(until, amount))
