"""`threadkeeper jobs`: list, show, cancel and retry jobs. The servers run them; these commands change their rows."""

import json
from typing import Annotated

import typer

from datalayer import Job
from datalayer.errors import NotFound
from datalayer.jobs.jobs import MOST_JOBS, Jobs
from datalayer.records.jobs import JobState
from threadkeeper.commands.terminal import end, settings_or_end, show_table, with_layer

jobs_app = typer.Typer(no_args_is_help=True, help="List, show, cancel and retry jobs.")

JobId = Annotated[str, typer.Argument(help="The id of the job, as `jobs list` shows it.", show_default=False)]
_LATER = "A server that runs does so within seconds."


@jobs_app.command("list")
def list_jobs(
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.", show_default=False)] = None,
    kind: Annotated[str | None, typer.Option(help="Only jobs of this kind.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="How many, from the newest.", min=1, max=MOST_JOBS)] = 50,
) -> None:
    """List jobs, newest first.

    A job is waiting, running, done, failed or cancelled.
    """
    kinds, states = [kind] if kind else [], [state] if state else []
    page = with_layer(Jobs, settings_or_end(), lambda jobs: jobs.list_jobs(kinds=kinds, states=states, limit=limit))
    rows = [
        (job.id, job.kind, _state(job), _progress(job), job.owner or "", job.created_at[:19] + "Z", job.error or "")
        for job in page.jobs
    ]
    show_table(("Id", "Kind", "State", "Progress", "User", "Started", "Error"), rows, empty="There are no jobs.")


@jobs_app.command("show")
def show_job(job_id: JobId) -> None:
    """Show everything that is stored about a job, as JSON."""
    job = with_layer(Jobs, settings_or_end(), lambda jobs: _demand(jobs, job_id))
    shown = {name: getattr(job, name) for name in job.__dataclass_fields__}
    typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))


@jobs_app.command("cancel")
def cancel_job(job_id: JobId) -> None:
    """Cancel a job.

    A waiting job is cancelled at once, a running one within seconds.
    """
    job = with_layer(Jobs, settings_or_end(), lambda jobs: jobs.cancel_job(job_id))
    if job.state == "running":
        typer.echo(f"The job {job.id} is being cancelled. {_LATER}")
    elif job.state == "cancelled":
        typer.echo(f"The job {job.id} is cancelled.")
    else:
        end(f"The job {job.id} is {job.state}, so it cannot be cancelled.", 1)


@jobs_app.command("retry")
def retry_job(job_id: JobId) -> None:
    """Try a failed or cancelled job again, from the step in which it failed."""
    job = with_layer(Jobs, settings_or_end(), lambda jobs: jobs.retry_job(job_id))
    typer.echo(f"The job {job.id} is tried again. {_LATER}")


async def _demand(jobs: Jobs, job_id: str) -> Job:
    job = await jobs.get_job(job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job


def _state(job: Job) -> str:
    return "cancelling" if job.is_cancelling and not job.is_finished else job.state


def _progress(job: Job) -> str:
    counted = f"{job.done}/{job.total}" if job.total is not None else str(job.done or "")
    return f"{counted} {job.text}".strip() if job.text and not job.is_finished else counted
