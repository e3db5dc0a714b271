"""A cache of the sums of budgets up to 15 minutes ago, so that a new call adds up only the latest calls of a month.

A call counts at the time of its begin, so a sum ends before the first call of its budget that is in progress: the call
is added up when it has ended. Older sums change only if calls are stored late (a spool that is replayed) or repriced.
They are added up again after half an hour.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
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


async def _spent(connection: AsyncConnection, budgets: Sequence[Budget], until: str) -> list[Spent]:
    """The sums of the budgets' calls before `until`, or before their first call that is in progress then.

    Takes two statements, however many budgets there are.
    """
    # Before the sums: a call that ends between the two is not in them, and is added up later. Few calls are in
    # progress at a time, and they have an index of their own.
    subjects = tuple(_OF_SCOPE.values())
    open_since = select(*subjects, func.min(_calls.requestedAt)).where(IS_IN_PROGRESS).group_by(*subjects)
    first = dict[tuple[str, str | None], str]()
    for *ids, moment in (await connection.execute(open_since)).all():
        for subject in zip(_OF_SCOPE, ids, strict=True):
            first[subject] = min(moment, first.get(subject, moment))
    ends = [max(one.begin, min(until, first.get((one.scope, one.subject_id), until))) for one in budgets]
    queries = [amount_used(one, one.begin, end) for one, end in zip(budgets, ends, strict=True)]
    sums = (await connection.execute(select(*(one.scalar_subquery() for one in queries)))).one()
    return [Spent(end, Decimal(amount or 0)) for end, amount in zip(ends, sums, strict=True)]


class Spending:
    """The cache of one process for one database."""

    def __init__(self) -> None:
        self._spent: dict[Budget, tuple[float, Spent]] = {}
        self._lock, self._lock_of_pages = asyncio.Lock(), asyncio.Lock()

    async def so_far(
        self, database: Database, budgets: Iterable[Budget], *, for_page: bool = False
    ) -> Mapping[Budget, Spent]:
        """The sums of the budgets up to 15 minutes ago, without budgets that began later.

        Args:
            database: has the calls.
            budgets: to add up.
            for_page: whether they are those of a page of limits: calls do not wait until so many are added up.
        """
        until = utc_in(-RECENT_SECONDS)
        wanted = list(dict.fromkeys(one for one in budgets if one.begin < until))
        if any(map(self._is_old, wanted)):
            # Many calls may find the sums too old at once; one of them adds up.
            async with self._lock_of_pages if for_page else self._lock:
                known = {one: self._spent[one][1] for one in wanted if not self._is_old(one)}
                old = [one for one in wanted if one not in known]
                return known | (await self._add_up(database, old, until) if old else {})
        return {one: self._spent[one][1] for one in wanted}

    def _is_old(self, budget: Budget) -> bool:
        known = self._spent.get(budget)
        return known is None or time.monotonic() - known[0] > REMEMBERED_SECONDS

    async def _add_up(self, database: Database, budgets: Sequence[Budget], until: str) -> dict[Budget, Spent]:
        sums = await database.query(partial(_spent, budgets=budgets, until=until))
        found, now = dict(zip(budgets, sums, strict=True)), time.monotonic()
        if len(self._spent) >= _MOST_REMEMBERED:
            self._spent.clear()
        self._spent |= {one: (now, amount) for one, amount in found.items()}
        return found
