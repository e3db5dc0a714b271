"""Calls what follows a job that has ended without its function (`kinds.JobEnding`)."""

import logging
from collections.abc import Mapping

from datalayer.jobs.kinds import Kind
from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.jobs import Job

logger = logging.getLogger(__name__)


async def follow(kinds: Mapping[tuple[str, int], Kind], job: Job) -> None:
    """Call what follows the end of the job, if its kind has it. A failure is logged: the job has ended all the same."""
    kind = kinds.get((job.kind, job.format))
    if kind is None or kind.on_ending is None:
        return
    with acting_as(SYSTEM if job.owner is None else job.owner):
        try:
            await kind.on_ending(job)
        except Exception:
            logger.exception("what follows the end of job %s (%s) failed", job.id, job.kind, extra={"job_id": job.id})
