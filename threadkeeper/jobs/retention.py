"""Jobs that delete on a schedule: expired records (RETENTION_EVERY_HOURS), expired texts of calls and jobs (daily), and
temporary threads (hourly).

The command `threadkeeper retention` uses `cutoffs` as well. Pinned and flagged threads are kept at any age. Each class
of records leaves an audit row. One process runs a job, and a job that is interrupted begins again: what is deleted
already is not found again.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from datalayer import JobContext, JobSchedule
from datalayer.cleaning import clean_time, utc_in, utc_now
from datalayer.records.retention import RetentionClass
from datalayer.review.retention import CLASSES

if TYPE_CHECKING:
    # Commands use this module, and do not wait for Chainlit.
    from datalayer.chainlit_layer import ChainlitLayer

logger = logging.getLogger(__name__)

RETENTION = "retention"
TEXTS = "expired-texts"
TEMPORARY = "temporary-threads"
JOBS_KEPT_DAYS = 30
"""Jobs that ended are listed for so long."""
_HOUR_SECONDS = 3600.0
_DAY_SECONDS = 24 * _HOUR_SECONDS
# Not within the start; a server that is restarted every night gets there.
_FIRST_AFTER_SECONDS = 60.0


def cutoffs(days: Mapping[str, int], now: datetime | None = None) -> dict[RetentionClass, str]:
    """The time (ISO 8601) before which records of each class expire, for the classes that have a number of days."""
    moment = now or datetime.now(UTC)
    return {
        cast(RetentionClass, kind): clean_time(moment - timedelta(days=number), "time of retention") or ""
        for kind, number in days.items()
    }


def register_retention(
    layer: "ChainlitLayer", days: Mapping[str, int], every_hours: float | None, payload_days: int
) -> None:
    """Register the three kinds. Without `every_hours`, retention is not started by itself."""

    async def apply(context: JobContext) -> dict[str, Any]:
        before = cutoffs(days)
        classes = [kind for kind in CLASSES if kind in before]
        deleted: dict[str, Any] = {}
        for number, kind in enumerate(classes):
            await context.progress(number, len(classes), kind)
            (receipt,) = await layer.apply_retention({kind: before[kind]})
            deleted[kind] = {name: count for name, count in receipt.rows.items() if count}
            if receipt.files:
                deleted[kind]["files"] = len(receipt.files)
            if deleted[kind]:
                logger.info("retention deleted expired records: %s", asdict(receipt), extra={"job_id": context.job_id})
        await context.progress(len(classes), len(classes))
        return deleted

    async def forget_texts(context: JobContext) -> dict[str, int]:
        count = await layer.forget_payloads(utc_in(-payload_days * _DAY_SECONDS))
        if count:
            logger.info(
                "deleted the texts of %d model calls that were older than %d days",
                *(count, payload_days),
                extra={"job_id": context.job_id},
            )
        return {"calls": count, "jobs": await layer.forget_jobs(utc_in(-JOBS_KEPT_DAYS * _DAY_SECONDS))}

    async def delete_temporary(context: JobContext) -> dict[str, int]:
        now = utc_now()
        (plan,) = await layer.plan_retention({"temporary": now})
        if not plan.count:
            # Mostly so; the audit gets no row then.
            return {"threads": 0}
        (receipt,) = await layer.apply_retention({"temporary": now})
        if receipt.threads:
            logger.info("temporary threads were deleted: %s", asdict(receipt), extra={"job_id": context.job_id})
        return {"threads": len(receipt.threads)}

    schedule = None if every_hours is None else JobSchedule(every_hours * 3600, _FIRST_AFTER_SECONDS)
    layer.register_job(RETENTION, apply, schedule=schedule)
    layer.register_job(TEMPORARY, delete_temporary, schedule=JobSchedule(_HOUR_SECONDS, _FIRST_AFTER_SECONDS))
    layer.register_job(TEXTS, forget_texts, schedule=JobSchedule(_DAY_SECONDS, _FIRST_AFTER_SECONDS))
