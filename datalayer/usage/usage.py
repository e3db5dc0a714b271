"""What calls to models came to: they are kept, counted, listed and exported, each for whom it may be shown.

Here alone it is decided whose calls those are: the system sees every one, a user their own, a visitor none.
"""

from collections.abc import AsyncIterator, Callable

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_time, known_id
from datalayer.errors import InvalidRecord
from datalayer.ownership import acting_user, demand_system
from datalayer.periods import periods
from datalayer.records.usage import (
    CallFilter,
    CallPage,
    CallRow,
    Dimension,
    Interval,
    LlmCall,
    LlmCallPayload,
    LlmCallWrite,
    UsageBucket,
    UsageGroup,
    UsageTotals,
)
from datalayer.review import access, audit
from datalayer.review.retention_rows import payloads_before
from datalayer.schema.usage import llm_call_payloads, llm_calls
from datalayer.store import DataStore
from datalayer.usage import calls, statistics
from datalayer.usage.cleaning import clean_call, clean_payload
from datalayer.usage.filters import matching
from datalayer.usage.verify import UsageCheck, UsageProblem, UsageReport

MOST_GROUPS = 1_000
_FORGOTTEN_AT_ONCE = 1_000


class Usage(DataStore):
    """Keeps calls to models, and says what they came to."""

    async def record_call(self, call: LlmCall, payload: LlmCallPayload | None = None) -> None:
        """Store the call, over an earlier state of it; a speed that is not given is reckoned.

        Of a user, a thread or a project that is not there the call keeps no id, and then no payload.

        Raises:
            InvalidRecord: a value of it cannot be.
        """
        try:
            kept = clean_call(call)
            said = None if payload is None else clean_payload(payload, kept)
        except InvalidRecord as error:
            await self._tell("call", error, thread_id=known_id(call.thread_id), record_id=known_id(call.id))
            raise
        await self._write("call", LlmCallWrite(kept, said))

    async def usage_totals(self, which: CallFilter) -> UsageTotals:
        """What the calls come to.

        Raises:
            InvalidRecord: a time is none.
        """
        dialect = self.database.dialect
        chosen = matching(dialect, which, acting_user.get())
        await self._writer.settled()
        return await self.database.query(lambda connection: statistics.totals(connection, dialect, chosen))

    async def usage_series(
        self,
        which: CallFilter,
        interval: Interval,
        zone: str,
        split_by: Dimension | None = None,
        *,
        percentiles: bool = True,
    ) -> list[UsageBucket]:
        """What the calls come to in each interval of a time zone (as "Europe/Berlin"), in order and without a gap.

        The first and the last are cut at the filter's times. Split by a dimension, each interval has a bucket for each
        value that there is in any of them.
        Without `percentiles` there are none of them, which saves about half of the time.

        Raises:
            InvalidRecord: a time is missing or none, there is no such interval, zone or dimension, or there would be
                too many of them.
        """
        dialect = self.database.dialect
        since, until = clean_time(which.since, "begin"), clean_time(which.until, "end")
        if since is None or until is None:
            raise InvalidRecord("a series has a begin and an end")
        pieces = periods(since, until, interval, zone)
        chosen = matching(dialect, which, acting_user.get())
        await self._writer.settled()
        return await self.database.query(
            lambda connection: statistics.series(connection, dialect, chosen, pieces, split_by, percentiles=percentiles)
        )

    async def usage_by(
        self,
        which: CallFilter,
        dimension: Dimension,
        *,
        order: str = "cost",
        limit: int = 100,
        percentiles: bool = True,
    ) -> list[UsageGroup]:
        """What the calls come to for each value of a dimension, those with the most first (by name: from A on).

        A call with several tags counts for each of them.

        Args:
            order: one of `usage_statistics.ORDERS`.
            limit: how many at most; never more than `MOST_GROUPS`.
            percentiles: without them, which are about half of the time, there are none.

        Raises:
            InvalidRecord: a time is none, or there is no such dimension or order.
        """
        dialect = self.database.dialect
        chosen, most = matching(dialect, which, acting_user.get()), min(limit, MOST_GROUPS)
        await self._writer.settled()
        return await self.database.query(
            lambda connection: statistics.by(
                connection, dialect, chosen, dimension, order=order, limit=most, percentiles=percentiles
            )
        )

    async def list_calls(
        self,
        which: CallFilter,
        *,
        order: str = "requested_at",
        descending: bool = True,
        cursor: str | None = None,
        limit: int = 50,
    ) -> CallPage:
        """A page of the calls; it begins behind the cursor that the page before gave.

        Args:
            order: "requested_at", "cost", "tokens" or "seconds"; what is unknown counts as less than nothing.
            limit: how many at most; never more than `usage_calls.LARGEST_PAGE`.

        Raises:
            InvalidRecord: a time is none, there is no such order, or the cursor is of another one.
        """
        chosen = matching(self.database.dialect, which, acting_user.get())
        await self._writer.settled()
        return await self.database.query(
            lambda connection: calls.page(
                connection, chosen, order=order, descending=descending, cursor=cursor, limit=limit
            )
        )

    async def get_call(self, call_id: str) -> tuple[CallRow, LlmCallPayload | None] | None:
        """The call and what was said in it, if that is kept; None where there is no such call for the acting user."""
        known = known_id(call_id)
        if known is None:
            return None
        chosen = matching(self.database.dialect, CallFilter(), acting_user.get())
        await self._writer.settled()
        return await self.database.query(lambda connection: calls.get(connection, chosen, known))

    async def note_call_read(self, call_id: str) -> None:
        """Say in the audit that the acting admin reads what was said in another's call; before it is shown to them.

        Raises:
            Forbidden: the acting user is no admin.
        """
        actor, known = acting_user.get(), known_id(call_id)

        async def note(connection: AsyncConnection) -> None:
            admin = await access.demand(connection, actor, access.ADMINS)
            whose = select(llm_calls.c.threadId, llm_calls.c.userId).where(llm_calls.c.id == known)
            found = (await connection.execute(whose)).first()
            if found is not None and (found.userId is None or found.userId != admin.id):
                subject, details = (found.threadId, found.userId), {"call": known}
                await audit.note(connection, "read_call", admin.identifier, [subject], details=details)

        await self._writer.submit(note)

    def export_calls(self, which: CallFilter) -> AsyncIterator[CallRow]:
        """All the calls in order of time, as a stream that needs no more memory for many than for few.

        Raises:
            InvalidRecord: a time is none.
        """
        # Not in the generator, which begins to run when somebody reads it: whoever acts then is perhaps not who asked.
        chosen = matching(self.database.dialect, which, acting_user.get())
        return calls.export(self.database, chosen)

    async def forget_payloads(self, before: str) -> int:
        """Delete what was said in calls and stored before this time; gives of how many calls. For the system alone.

        What was said in threads that are pinned or flagged stays.

        Raises:
            Forbidden: a user asks for it.
            InvalidRecord: it is no time.
        """
        demand_system(acting_user.get(), "the retention of payloads")
        moment = clean_time(before, "time")
        if moment is None:
            raise InvalidRecord("payloads are forgotten from before a time")
        payloads = llm_call_payloads.c
        oldest = select(payloads.callId).where(payloads_before(moment)).order_by(payloads.createdAt)
        some = delete(llm_call_payloads).where(payloads.callId.in_(oldest.limit(_FORGOTTEN_AT_ONCE)))

        async def forget(connection: AsyncConnection) -> int:
            return int((await connection.execute(some)).rowcount)

        # Some at a time: what chats write meanwhile must not wait for the deletion of years.
        count = done = await self._writer.submit(forget)
        while done:
            done = await self._writer.submit(forget)
            count += done
        return int(count)

    async def verify_usage(
        self, *, repair: bool = False, found: Callable[[UsageProblem], None] = lambda _problem: None
    ) -> UsageReport:
        """Reckon every cost anew and compare what is shown of all calls with their rows. For the system alone.

        Args:
            repair: take ids out of calls whose user or thread is gone; costs are left as they are.
            found: is told each problem at once.

        Raises:
            Forbidden: a user asks for it.
        """
        demand_system(acting_user.get(), "the check of all calls")
        await self._writer.settled()
        return await UsageCheck(self.database, found=found).run(repair=repair)
