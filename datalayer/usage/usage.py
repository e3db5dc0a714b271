"""Store, aggregate, list and export model calls.

Users see their own calls; the system sees all; visitors see none. This is decided here and nowhere else.
"""

from collections.abc import AsyncIterator, Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer import cursors, migrations
from datalayer.cleaning import clean_text, clean_time, known_id
from datalayer.errors import InvalidRecord
from datalayer.ownership import acting_user, demand_system
from datalayer.periods import periods
from datalayer.records.billing import CalledModel
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
    UsagePage,
    UsageTotals,
)
from datalayer.review import access, audit, payloads
from datalayer.review.base import ReviewStore
from datalayer.usage import calls, statistics
from datalayer.usage.cleaning import clean_call, clean_payload
from datalayer.usage.filters import matching
from datalayer.usage.verify import UsageCheck, UsageProblem, UsageReport

MOST_GROUPS = 1_000
_FORGOTTEN_AT_ONCE = 1_000


class Usage(ReviewStore):
    """Public methods for calls to models."""

    async def record_call(self, call: LlmCall, payload: LlmCallPayload | None = None) -> None:
        """Store a call in place of an earlier state of it. A missing `tokens_per_second` is computed.

        Ids of users, threads and projects that do not exist are stored as None, and the payload is then dropped.

        Args:
            call: the call.
            payload: its messages and answer, to be stored with it; without one, a stored payload is kept.

        Raises:
            InvalidRecord: a field is not valid.
        """
        try:
            kept = clean_call(call)
            kept_payload = None if payload is None else clean_payload(payload, kept)
        except InvalidRecord as error:
            await self._report_failure("call", error, thread_id=known_id(call.thread_id), record_id=known_id(call.id))
            raise
        await self._write("call", LlmCallWrite(kept, kept_payload))

    async def usage_totals(self, which: CallFilter) -> UsageTotals:
        """The totals of the calls that match the filter.

        Raises:
            InvalidRecord: a time is not valid.
        """
        dialect = self.database.dialect
        chosen = matching(dialect, which, acting_user.get())
        await self._writer.settled()
        return await self._read(
            lambda database: database.query(lambda connection: statistics.totals(connection, dialect, chosen))
        )

    async def usage_series(
        self,
        which: CallFilter,
        interval: Interval,
        zone: str,
        split_by: Dimension | None = None,
        *,
        percentiles: bool = True,
    ) -> list[UsageBucket]:
        """Totals per interval, in order and without gaps. The first and last are cut at the filter's times.

        For example, the cost per day and model:

            march = CallFilter(since="2026-03-01", until="2026-04-01")
            buckets = await layer.usage_series(march, "day", "Europe/Berlin", "model")

        Args:
            which: the filter, with both times.
            interval: "5 minutes", "hour", "day", "week", "month" or "year".
            zone: the time zone of the intervals, such as "Europe/Berlin".
            split_by: a dimension: each interval has one bucket for every value that occurs in any interval.
            percentiles: whether to compute percentiles, which take about half of the time.

        Raises:
            InvalidRecord: a time is missing or not valid, the interval, zone or dimension is unknown, or there are
                more than 3,000 intervals or 20,000 buckets.
        """
        dialect = self.database.dialect
        since, until = clean_time(which.since, "begin"), clean_time(which.until, "end")
        if since is None or until is None:
            raise InvalidRecord("`since` and `until` are required")
        pieces = periods(since, until, interval, zone)
        chosen = matching(dialect, which, acting_user.get())
        await self._writer.settled()
        return await self._read(
            lambda database: database.query(
                lambda connection: statistics.series(
                    connection, dialect, chosen, pieces, split_by, percentiles=percentiles
                )
            )
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
        """Totals per value of a dimension. A call with several tags counts for each of them.

        Args:
            which: the filter.
            dimension: one of `Dimension`.
            order: "cost", "calls", "tokens", "failed", "seconds", "speed" or "first_token" (largest first), or "name".
            limit: how many groups, at most 1,000.
            percentiles: whether to compute percentiles, which take about half of the time.

        Raises:
            InvalidRecord: a time is not valid, or the dimension or order is unknown.
        """
        dialect = self.database.dialect
        chosen, most = matching(dialect, which, acting_user.get()), min(limit, MOST_GROUPS)
        await self._writer.settled()
        return await self._read(
            lambda database: database.query(
                lambda connection: statistics.by(
                    connection, dialect, chosen, dimension, order=order, limit=most, percentiles=percentiles
                )
            )
        )

    async def page_of_usage(
        self,
        which: CallFilter,
        dimension: Dimension,
        *,
        order: str = "cost",
        cursor: str | None = None,
        limit: int = 100,
    ) -> UsagePage:
        """As `usage_by`, a page of the groups, without percentiles, and the sums of the groups behind it.

        The groups are counted again for each page: what is stored between two pages moves groups.

        Args:
            which, dimension, order: as of `usage_by`.
            cursor: `next_cursor` of the page before.
            limit: how many groups, from 1 to 1,000.

        Raises:
            InvalidRecord: a time or the cursor is not valid, the dimension or order unknown, or the limit below 1.
        """
        dialect = self.database.dialect
        chosen, most = matching(dialect, which, acting_user.get()), min(limit, MOST_GROUPS)
        skipped = _skipped(cursor, dimension, order)
        if most < 1:
            raise InvalidRecord("a page needs a limit of at least 1")
        await self._writer.settled()
        return await self._read(
            lambda database: database.query(
                lambda connection: statistics.page(
                    connection, dialect, chosen, dimension, order=order, skipped=skipped, limit=most
                )
            )
        )

    async def called_models(self, which: CallFilter) -> list[CalledModel]:
        """The models of the calls that match the filter and have tokens, at most 1,000, the most called first.

        Raises:
            InvalidRecord: a time is not valid.
        """
        chosen = matching(self.database.dialect, which, acting_user.get())
        await self._writer.settled()
        return await self._read(
            lambda database: database.query(lambda connection: statistics.models(connection, chosen, limit=MOST_GROUPS))
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
        """A page of calls.

        Args:
            which: the filter.
            order: "requested_at", "cost", "tokens" or "seconds"; unknown values sort below zero.
            descending: whether the largest or latest comes first.
            cursor: `next_cursor` of the page before, in the same order.
            limit: the page's size, at most 200.

        Raises:
            InvalidRecord: a time or the cursor is not valid, the order is unknown, or the limit is below 1.
        """
        chosen = matching(self.database.dialect, which, acting_user.get())
        await self._writer.settled()
        return await self._read(
            lambda database: database.query(
                lambda connection: calls.page(
                    connection, chosen, order=order, descending=descending, cursor=cursor, limit=limit
                )
            )
        )

    async def get_call(self, call_id: str) -> tuple[CallRow, LlmCallPayload | None] | None:
        """The call and its payload, if that is stored; None if the acting user may see no such call."""
        known = known_id(call_id)
        if known is None:
            return None
        chosen = matching(self.database.dialect, CallFilter(), acting_user.get())
        await self._writer.settled()
        return await self.database.query(lambda connection: calls.get(connection, chosen, known))

    async def calls_of_step(self, thread_id: str, step_id: str) -> tuple[LlmCall, ...]:
        """The acting user's calls for a step, oldest first; also for one that was removed from its thread."""
        thread, step = known_id(thread_id), known_id(step_id)
        if thread is None or step is None:
            return ()
        chosen = matching(self.database.dialect, CallFilter(), acting_user.get())
        await self._writer.settled()
        return await self.database.query(lambda connection: calls.of_step(connection, chosen, thread, step))

    async def last_answered_by(self, model: str, provider: str) -> str | None:
        """The name of the model that last answered under this name, of any user's calls; None if none ever did.

        On Azure, a deployment has a name of its own, and its price is that of the model behind it. Everyone may read
        this, as they may read prices.
        """
        return (await self.last_answered_by_each([model], provider)).get(model)

    async def last_answered_by_each(self, models: Sequence[str], provider: str) -> dict[str, str]:
        """As `last_answered_by`, of many models at once, by their names; a model that never answered is missing."""
        names, of = {model: clean_text(model) for model in models}, clean_text(provider)
        cleaned = [*dict.fromkeys(names.values())]
        await self._writer.settled()
        found = await self.database.query(lambda connection: calls.last_answered_by(connection, cleaned, of))
        return {model: found[name] for model, name in names.items() if name in found}

    async def has_sent_finish_reasons(self, provider: str) -> bool:
        """Whether this provider has ended one of the newest streamed answers with a finish_reason.

        Only the newest 500 calls are read, so that a provider whose server was replaced is judged anew. Everyone may
        read this.
        """
        of = clean_text(provider)
        await self._writer.settled()
        return await self.database.query(lambda connection: calls.has_sent_finish_reasons(connection, of))

    async def note_call_read(self, call_id: str) -> None:
        """Note in the audit that the acting admin reads the payload of another user's call; call it before showing it.

        Raises:
            Forbidden: the acting user is no admin.
        """
        known = known_id(call_id)

        async def note(connection: AsyncConnection, admin: access.Reviewer) -> None:
            subject = await calls.thread_and_user(connection, known) if known else None
            if subject is not None and subject[1] != admin.id:
                await audit.note(connection, "read_call", admin.identifier, [subject], details={"call": known})

        await self._write_as_reviewer(note, access.ADMINS)

    def export_calls(self, which: CallFilter) -> AsyncIterator[CallRow]:
        """Stream all calls that match the filter, oldest first. Memory does not grow with their number.

        Raises:
            InvalidRecord: a time is not valid.
        """
        # Read here and not in the generator, which starts at its first read: another user may be acting then.
        chosen = matching(self.database.dialect, which, acting_user.get())
        return calls.export(self.database, chosen)

    async def forget_payloads(self, before: str) -> int:
        """Delete payloads of calls before a time; returns how many. Only the system may do this.

        Payloads of pinned and flagged threads are kept. On Postgres, this also adds the partitions of the next months.

        Raises:
            Forbidden: a user or a visitor acts.
            InvalidRecord: the time is missing or not valid.
        """
        demand_system(acting_user.get(), "the retention of payloads")
        moment = clean_time(before, "time")
        if moment is None:
            raise InvalidRecord("`before` is missing: give the time before which to delete")

        async def forget(connection: AsyncConnection) -> int:
            return await payloads.remove_rows(connection, moment, limit=_FORGOTTEN_AT_ONCE)

        await migrations.add_partitions(self.database)
        count = await payloads.remove_months(self.database, moment)
        # In parts, so that writes of chats do not wait for the whole deletion.
        while done := await self._writer.submit(forget):
            count += done
        return count

    async def verify_usage(
        self, *, repair: bool = False, found: Callable[[UsageProblem], None] = lambda _problem: None
    ) -> UsageReport:
        """Check the tokens of every call, recalculate its cost, and check all totals. Only the system may do this.

        Args:
            repair: whether to remove ids of deleted users and threads from calls. Costs are never changed.
            found: is called with each problem as soon as it is found.

        Raises:
            Forbidden: a user or a visitor acts.
        """
        demand_system(acting_user.get(), "the check of all calls")
        await self._writer.settled()
        return await UsageCheck(self.database, found=found).run(repair=repair)


def _skipped(cursor: str | None, dimension: str, order: str) -> int:
    """How many groups are before the page."""
    if cursor is None:
        return 0
    _, _, skipped = cursors.decode(cursor, "usage", {dimension: dimension}.get, {order: order}.get, cursors.number)
    return int(skipped)
