"""What is kept no longer, by the days that are set for each class: for the command and for a server's schedule.

What is pinned or flagged stays, whatever its age. Each class leaves a row in the audit, and a receipt.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Protocol, cast

from datalayer import SYSTEM, DataLayerError, acting_as
from datalayer.cleaning import clean_time
from datalayer.records.retention import RetentionClass, RetentionReceipt

logger = logging.getLogger(__name__)


class RetainingStore(Protocol):
    """What is needed here of the data layer."""

    async def apply_retention(self, before: Mapping[RetentionClass, str]) -> list[RetentionReceipt]: ...


def limits(days: Mapping[str, int], now: datetime | None = None) -> dict[RetentionClass, str]:
    """The time before which each class goes, for those that have a number of days."""
    moment = now or datetime.now(UTC)
    return {
        cast(RetentionClass, kind): clean_time(moment - timedelta(days=number), "time of retention") or ""
        for kind, number in days.items()
    }


async def retain_for_ever(
    store: RetainingStore, days: Mapping[str, int], every_hours: float | None, *, first_after_seconds: float = 600
) -> None:
    """Delete what is kept no longer each time so many hours have gone by; never for None.

    The first time soon after the start: a server that is started anew each night would never do it. A failure is
    logged, and tried again the next time. Several replicas may do this at once.
    """
    if every_hours is None:
        return
    seconds = min(first_after_seconds, every_hours * 3600)
    while True:
        await asyncio.sleep(seconds)
        seconds = every_hours * 3600
        try:
            with acting_as(SYSTEM):
                receipts = await store.apply_retention(limits(days))
        except DataLayerError as error:
            logger.error("what is kept no longer could not be deleted: %s", error)
            continue
        for receipt in receipts:
            gone = {name: count for name, count in receipt.rows.items() if count}
            if gone or receipt.files:
                logger.info("kept no longer: %s", asdict(receipt))
