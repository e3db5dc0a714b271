"""A cache of the sums of budgets up to 15 minutes ago, so that a new call adds up only the latest calls of a month.

A call counts at the time of its begin, so a sum ends before the first call of its budget that is in progress: the call
is added up when it has ended. Older sums change only if calls are stored late (a spool that is replayed) or repriced.
They are added up again after half an hour.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.billing.in_flight import IS_IN_PROGRESS
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

_OF_SCOPE: dict[str, ColumnElement[Any]] = {"user": _calls.userId, "project": _calls.projectId, "key": _calls.keyId}


@dataclass(frozen=True, slots=True)
class Budget:
    """The subject of a sum: the tokens or dollars of a user's, a project's or a key's calls since `begin`."""

    scope: Literal["user", "project", "key"]
    subject_id: str | None
    unit: Literal["tokens", "dollars"]
    begin: str


@dataclass(frozen=True, slots=True)
class Spent:
    """The sum of a budget's calls before `until`."""

    until: str
    amount: Decimal


def amount_used(budget: Budget, since: str, until: str) -> Select[Any]:
    """A query for the sum of the budget's calls from `since` to before `until`; NULL if there are none."""
    column = _OF_SCOPE[budget.scope]
    return select(_USED[budget.unit]).where(
        column == budget.subject_id, _calls.requestedAt >= since, _calls.requestedAt < until
    )


async def used(connection: AsyncConnection, budget: Budget, since: str, until: str) -> Decimal:
    """The sum of the budget's calls from `since` to before `until`."""
    return Decimal((await connection.execute(amount_used(budget, since, until))).scalar() or 0)


async def _spent(connection: AsyncConnection, budget: Budget, until: str) -> Spent:
    """The sum of the budget's calls before `until`, or before its first call that is in progress then."""
    # Before the sum: a call that ends between the two is not in it, and is added up later.
    open_since = select(func.min(_calls.requestedAt)).where(
        IS_IN_PROGRESS, _OF_SCOPE[budget.scope] == budget.subject_id
    )
    first: str | None = (await connection.execute(open_since)).scalar()
    until = max(budget.begin, min(until, first or until))
    return Spent(until, await used(connection, budget, budget.begin, until))


class Spending:
    """The cache of one process for one database."""

    def __init__(self) -> None:
        self._spent: dict[Budget, tuple[float, Spent]] = {}
        self._lock = asyncio.Lock()

    async def so_far(self, database: Database, budgets: list[Budget]) -> Mapping[Budget, Spent]:
        """The sums of the budgets up to 15 minutes ago, without budgets that began later."""
        until = utc_in(-RECENT_SECONDS)
        found = {}
        for budget in budgets:
            if budget.begin >= until:
                continue
            if self._is_old(budget):
                # Many calls may find the sum too old at once; one of them adds up.
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
        self._spent[budget] = (time.monotonic(), await database.query(partial(_spent, budget=budget, until=until)))
