"""What the usage pages need of the data layer."""

from collections.abc import AsyncIterator
from typing import Protocol

from datalayer.records.usage import (
    CallFilter,
    CallPage,
    CallRow,
    Dimension,
    Interval,
    LlmCallPayload,
    UsageBucket,
    UsageGroup,
    UsageTotals,
)


class UsageReader(Protocol):
    """Calls and what they came to; of whom, is decided by who is acting."""

    async def usage_totals(self, which: CallFilter) -> UsageTotals: ...

    async def usage_series(
        self,
        which: CallFilter,
        interval: Interval,
        zone: str,
        split_by: Dimension | None = None,
        *,
        percentiles: bool = True,
    ) -> list[UsageBucket]: ...

    async def usage_by(
        self,
        which: CallFilter,
        dimension: Dimension,
        *,
        order: str = "cost",
        limit: int = 100,
        percentiles: bool = True,
    ) -> list[UsageGroup]: ...

    async def list_calls(
        self,
        which: CallFilter,
        *,
        order: str = "requested_at",
        descending: bool = True,
        cursor: str | None = None,
        limit: int = 50,
    ) -> CallPage: ...

    async def get_call(self, call_id: str) -> tuple[CallRow, LlmCallPayload | None] | None: ...

    async def note_call_read(self, call_id: str) -> None: ...

    def export_calls(self, which: CallFilter) -> AsyncIterator[CallRow]: ...
