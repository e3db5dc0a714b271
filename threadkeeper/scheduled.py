"""Deletes on a schedule: expired records (RETENTION_EVERY_HOURS) and expired texts of calls (daily).

`run_retention` serves the command `threadkeeper retention` through `cutoffs` as well. Pinned and flagged threads are
kept at any age. Each class of records leaves an audit row and a receipt.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import cast

from datalayer import SYSTEM, DataLayerError, acting_as
from datalayer.cleaning import clean_time, utc_in
from datalayer.records.retention import RetentionClass
from datalayer.review.retention import Retention
from datalayer.usage.usage import Usage

logger = logging.getLogger(__name__)

_DAY_SECONDS = 24 * 3600.0


def cutoffs(days: Mapping[str, int], now: datetime | None = None) -> dict[RetentionClass, str]:
    """The time (ISO 8601) before which records of each class expire, for the classes that have a number of days."""
    moment = now or datetime.now(UTC)
    return {
        cast(RetentionClass, kind): clean_time(moment - timedelta(days=number), "time of retention") or ""
        for kind, number in days.items()
    }


async def run_retention(
    layer: Retention, days: Mapping[str, int], every_hours: float | None, *, first_after_seconds: float = 600
) -> None:
    """Delete expired records every `every_hours` hours, until cancelled; returns at once if that is None.

    The first run is soon after the start, because a server that is restarted every night would never reach a later
    one. A failed run is logged, and the next one tries again. Several replicas may run this at the same time.
    """
    if every_hours is None:
        return
    seconds = min(first_after_seconds, every_hours * 3600)
    while True:
        await asyncio.sleep(seconds)
        seconds = every_hours * 3600
        try:
            with acting_as(SYSTEM):
                receipts = await layer.apply_retention(cutoffs(days))
        except DataLayerError as error:
            logger.error("retention failed and is tried again in %g hours: %s", every_hours, error)
            continue
        for receipt in receipts:
            deleted = {name: count for name, count in receipt.rows.items() if count}
            if deleted or receipt.files:
                logger.info("retention deleted expired records: %s", asdict(receipt))


async def run_payload_retention(layer: Usage, days: int) -> None:
    """Delete messages and answers of model calls that are older than `days`: now, and daily until cancelled."""
    while True:
        try:
            with acting_as(SYSTEM):
                count = await layer.forget_payloads(utc_in(-days * _DAY_SECONDS))
        except DataLayerError as error:
            logger.warning("cannot delete the texts of old model calls; the next try is in a day: %s", error)
        else:
            if count:
                logger.info("deleted the texts of %d model calls that were older than %d days", count, days)
        await asyncio.sleep(_DAY_SECONDS)
