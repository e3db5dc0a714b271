"""Public methods for limits, and for calls in progress. Every user may read limits; the system alone changes them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.billing import in_flight, limit_uses, limits
from datalayer.billing.cleaning import clean_limit
from datalayer.billing.spending import Spending
from datalayer.cleaning import clean_id, utc_in, utc_now
from datalayer.conditions import Condition
from datalayer.errors import InvalidRecord
from datalayer.ownership import acting_user, demand_system
from datalayer.records.audit import AuditAction
from datalayer.records.billing import LimitPage
from datalayer.records.usage import (
    IN_PROGRESS,
    CallDemand,
    Limit,
    LimitReached,
    LimitStanding,
    LlmCall,
    LlmCallWrite,
    Reservation,
    Scope,
    plain_amount,
)
from datalayer.review import audit
from datalayer.store import DataStore
from datalayer.usage.cleaning import clean_call
from datalayer.writes.repeats import conditional, deletion

MOST_LIMITS = 200


class Limiting(DataStore):
    """Limits of usage, and what is used of them. Methods that change a limit raise Forbidden for users and visitors."""

    @cached_property
    def _spending(self) -> Spending:
        return Spending()

    async def list_limits(self) -> list[Limit]:
        """All limits, oldest first."""
        return await self.database.query(limits.list_all)

    async def page_of_limits(
        self, *, zone: str, scopes: Sequence[Scope] = (), cursor: str | None = None, limit: int = 50
    ) -> LimitPage:
        """A page of the limits, oldest first, with whose each is and what is used of it now.

        Args:
            zone: the time zone of days and months.
            scopes: of the limits; all by default.
            cursor: `next_cursor` of the page before.
            limit: of the page, from 1 to 200.

        Raises:
            Forbidden: a user or a visitor acts.
            InvalidRecord: the cursor, the limit or the zone is not valid.
        """
        demand_system(acting_user.get(), "the list of what is used")
        if not 1 <= limit <= MOST_LIMITS:
            raise InvalidRecord(f"a page has from 1 to {MOST_LIMITS} limits")
        listed = await self.database.query(
            lambda connection: limit_uses.page(connection, scopes=scopes, cursor=cursor, limit=limit)
        )
        now = utc_now()
        budgets = listed.budgets(zone=zone, moment=now)
        # The sums that the check of limits keeps; only the latest calls of each are added up here.
        spent = await self._spending.so_far(self.database, budgets.values(), for_page=True)
        return await self.database.query(
            lambda connection: limit_uses.used(connection, listed, budgets, spent, zone=zone, moment=now)
        )

    async def put_limit(self, limit: Limit, *, by: str | None = None, only_if: Condition[Limit] | None = None) -> Limit:
        """Store a limit; returns it as stored. A limit of the same scope, subject, period and unit gets the new amount.

        For example, at most two million tokens a month for each user:

            await layer.put_limit(Limit(str(uuid4()), "users", None, "month", "tokens", Decimal(2_000_000)))

        Args:
            limit: to be stored.
            by: the admin in whose name it is done, for the audit.
            only_if: what the stored limit of this id must be like, in the same transaction.

        Raises:
            RecordChanged: it is not.
            NotFound: it should be like something, and does not exist.
            InvalidRecord: a field is not valid.
        """
        demand_system(acting_user.get(), "the change of limits")
        cleaned = clean_limit(limit)

        async def put(connection: AsyncConnection) -> Limit:
            await limits.demand(connection, cleaned.id, only_if)
            stored = await limits.put(connection, cleaned)
            amount = plain_amount(cleaned.amount)
            whose = {"scope": cleaned.scope, "subject": cleaned.subject_id, "period": cleaned.period}
            await note(connection, "put_limit", by, limit=stored.id, amount=amount, unit=cleaned.unit, **whose)
            return stored

        async def read(connection: AsyncConnection) -> list[Limit]:
            # The limit may be stored under the id of an earlier one.
            return await limits.list_all(connection)

        stored: Limit = await self._writer.submit(conditional(put, read))
        return stored

    async def remove_limit(
        self, limit_id: str, *, by: str | None = None, only_if: Condition[Limit] | None = None
    ) -> None:
        """Remove a limit. `by` and `only_if` are as of `put_limit`.

        Raises:
            RecordChanged: the limit is another.
            NotFound: there is no such limit.
        """
        demand_system(acting_user.get(), "the change of limits")
        known = clean_id(limit_id, "id of a limit")

        async def remove(connection: AsyncConnection) -> None:
            await limits.demand(connection, known, only_if)
            await limits.remove(connection, known)
            await note(connection, "remove_limit", by, limit=known)

        await self._writer.submit(deletion(remove))

    async def limit_standings(
        self, user_id: str | None, project_id: str | None, key_id: str | None = None, *, zone: str
    ) -> list[LimitStanding]:
        """The current use of each limit for this user, project and key. Days and months are those of the time zone."""
        return await self.database.query(
            lambda connection: limits.standings(connection, user_id, project_id, key_id, zone=zone, moment=utc_now())
        )

    async def reserve(self, demand: CallDemand, *, zone: str, seconds: float) -> Reservation | LimitReached:
        """Reserve the tokens and cost that a call may use at most, so that concurrent calls cannot exceed a limit.

        Returns the reservation, or the limit that allows no further call. The reserved answer is shorter than asked
        for if less is left.

        Args:
            demand: the tokens of the question and the answer, and their cost if known.
            zone: the time zone of days and months.
            seconds: how long the reservation counts, unless it is released before.
        """
        subject, now = (demand.user_id, demand.project_id, demand.key_id), utc_now()
        budgets = [
            limits.budget_of(limit, *subject, zone=zone, moment=now)
            for limit in await self.list_limits()
            if limits.concerns(limit, *subject)
        ]
        spent = await self._spending.so_far(self.database, budgets)

        async def set_aside(connection: AsyncConnection) -> Reservation | LimitReached:
            return await limits.reserve(
                connection, demand, zone=zone, moment=utc_now(), expires_at=utc_in(seconds), spent=spent
            )

        answer: Reservation | LimitReached = await self._writer.submit(set_aside)
        return answer

    async def extend(self, call_id: str, *, seconds: float) -> None:
        """Extend the reservation of a call in progress to this many seconds from now."""
        await self._writer.submit(lambda connection: limits.extend(connection, call_id, expires_at=utc_in(seconds)))

    async def begin_call(self, call: LlmCall) -> None:
        """Store a call that has not ended, with `IN_PROGRESS` as its `finish_reason`; `record_call` replaces it.

        It counts as in progress for 30 seconds from `requested_at` on, and longer if `extend_calls` is called.

        Raises:
            InvalidRecord: a field is not valid.
        """
        cleaned = clean_call(call)
        if cleaned.finish_reason != IN_PROGRESS:
            cleaned = replace(cleaned, finish_reason=IN_PROGRESS)
        await self._writer.store(LlmCallWrite(cleaned))

    async def extend_calls(self, ids: Sequence[str], *, seconds: float) -> None:
        """Let calls in progress count as such for this many seconds from now, in one statement."""
        await self._writer.submit(
            lambda connection: in_flight.extend(connection, self.database.dialect, ids, expires_at=utc_in(seconds))
        )

    async def end_interrupted_calls(self) -> int:
        """Mark the calls of processes that have ended, with `INTERRUPTED` as their `error_kind`; returns how many."""
        young_since = utc_in(-in_flight.YOUNG_SECONDS)
        ended: int = await self._writer.submit(
            lambda connection: in_flight.end_interrupted(connection, moment=utc_now(), young_since=young_since)
        )
        return ended

    async def release(self, call_id: str) -> None:
        """Release the reservation of a call. It is queued before the first await, after the call's own row."""
        await self._writer.submit(lambda connection: limits.release(connection, [call_id], moment=utc_now()))


async def note(connection: AsyncConnection, action: AuditAction, by: str | None, **details: Any) -> None:
    """Add a row to the audit, of no thread and no user."""
    await audit.note(connection, action, by, [(None, None)], details=details)
