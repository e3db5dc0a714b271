"""Jobs of a program: answers in the background. See how far one is, and cancel it."""

from fastapi import APIRouter

from datalayer import Job
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.jobs.answers import ANSWER
from threadkeeper.jobs.webhooks import WEBHOOK, secret_of
from threadkeeper.web.api.access import Reader, Writer
from threadkeeper.web.api.once import Once
from threadkeeper.web.api.problems import Problem, not_found
from threadkeeper.web.api.route import PREFIX, ApiRoute, location_of
from threadkeeper.web.api.shapes import ShownJob, Webhook, WebhookSecret
from threadkeeper.web.pages.dependencies import Layer

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)


@router.get("/jobs/{job_id}")
async def read_job(_caller: Reader, layer: Layer, job_id: str) -> ShownJob:
    """A job, and whether its webhook was delivered."""
    return await shown_job(layer, await _job(layer, job_id))


@router.delete("/jobs/{job_id}", status_code=202)
async def delete_job(_caller: Writer, layer: Layer, job_id: str) -> ShownJob:
    """As POST to `cancel`."""
    return await _cancelled(layer, job_id)


@router.post("/jobs/{job_id}/cancel", status_code=202, dependencies=[Once])
async def cancel_job(_caller: Writer, layer: Layer, job_id: str) -> ShownJob:
    """Cancel a job. An answer that is being written ends within seconds, and keeps its text so far."""
    return await _cancelled(layer, job_id)


@router.get("/webhook-secret")
async def read_webhook_secret(caller: Reader) -> WebhookSecret:
    """The secret by which the webhooks of this key are signed (Standard Webhooks)."""
    if caller.key is None:
        raise Problem(403, "forbidden", "Each key has a secret of its own: send the key.")
    return WebhookSecret(secret=secret_of(caller.key.id))


def address_of(job: Job) -> str:
    """The path of a job."""
    return location_of(f"/jobs/{job.id}")


async def shown_job(layer: ChainlitLayer, job: Job) -> ShownJob:
    """The job as the API shows it."""
    webhook, url = None, job.arguments.get("webhook")
    if url is not None:
        found = (await layer.list_jobs(kinds=[WEBHOOK], key=job.id, limit=1)).jobs
        one = found[0] if found else None
        webhook = Webhook(
            url=url,
            state=one.state if one else "waiting",
            tries=one.done if one else 0,
            detail=(one.text if one else None) or None,
        )
    return ShownJob(
        id=job.id,
        state=job.state,
        created_at=job.created_at,
        ended_at=job.ended_at,
        thread_id=job.arguments["thread"],
        question_id=job.arguments["question"],
        answer_id=(job.result or {}).get("answer"),
        error=job.error,
        webhook=webhook,
    )


async def _job(layer: ChainlitLayer, job_id: str) -> Job:
    found = await layer.get_job(job_id)
    if found is None or found.kind != ANSWER:
        raise not_found("job")
    return found


async def _cancelled(layer: ChainlitLayer, job_id: str) -> ShownJob:
    job = await _job(layer, job_id)
    return await shown_job(layer, await layer.cancel_job(job.id))
