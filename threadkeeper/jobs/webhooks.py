"""The job that tells a program that its answer is there: a POST to an address, signed as the specification "Standard
Webhooks" says, tried a few times.

It says which job has ended, and how; the program reads the rest with its key. Only hosts of API_WEBHOOK_HOSTS get it.
The guards are those of `knowledge.fetching`: addresses are checked when the connection is made, redirects are failures.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import time
from typing import TYPE_CHECKING, Any

from datalayer import JobContext, JobFailed
from datalayer.errors import JobLater, NotFound
from threadkeeper.knowledge.fetching.base import FetchFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yarl import URL

    from datalayer import Job
    from datalayer.chainlit_layer import ChainlitLayer
    from threadkeeper.knowledge.fetching.places import Places

WEBHOOK = "webhook"
WEBHOOKS_AT_ONCE = 16
TRIES = 5
_PAUSES_SECONDS = (5.0, 60.0, 600.0, 3600.0)
_SECONDS = 15.0
_LOOK_EVERY_SECONDS = 0.2
_URL, _JOB = "webhook", "job"


def secret_of(key_id: str) -> str:
    """The secret by which the webhooks of an API key are signed, in the form of the specification.

    It is derived from CHAINLIT_AUTH_SECRET, so it is stored nowhere, and differs for each key.
    """
    derived = hmac.digest(os.environ["CHAINLIT_AUTH_SECRET"].encode(), f"webhooks of {key_id}".encode(), hashlib.sha256)
    return "whsec_" + base64.b64encode(derived).decode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of the header `webhook-signature`."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


async def start_webhook(layer: ChainlitLayer, job_id: str, arguments: Mapping[str, Any]) -> None:
    """Start the webhook of a job that ends, if its program wants one."""
    if arguments.get(_URL) is None:
        return
    given = {_URL: arguments[_URL], _JOB: job_id, "key": arguments["key"]}
    await layer.start_job(WEBHOOK, given, key=job_id)


async def start_missing_webhook(layer: ChainlitLayer, job: Job) -> None:
    """Start the webhook of a job that has ended, unless its function did before it was interrupted.

    A webhook waits for the end of its job: one that is not done, or was done after this end, tells it.
    """
    if job.arguments.get(_URL) is None:
        return
    newest = next(iter((await layer.list_jobs(kinds=[WEBHOOK], key=job.id, limit=1)).jobs), None)
    if newest is not None and (newest.ended_at is None or newest.ended_at >= (job.ended_at or "")):
        return
    await start_webhook(layer, job.id, job.arguments)


def register_webhooks(layer: ChainlitLayer, places: Places) -> None:
    async def deliver(context: JobContext) -> dict[str, Any]:
        answer = await _ended(layer, str(context.arguments[_JOB]))
        number = context.interruptions + 1
        body = json.dumps(_message(answer)).encode()
        now = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": context.job_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(secret_of(str(context.arguments["key"])), context.job_id, now, body),
        }
        try:
            status = await _post(places, places.parse(str(context.arguments[_URL])), headers, body)
        except FetchFailed as failed:
            # The rules of the operator, or of the specification: 410 wants no further one.
            is_last = failed.kind in ("host", "no_hosts", "address", "private") or failed.values.get("status") == 410
            told = await _told(layer, context, number, _reason(failed))
            if is_last or number >= TRIES:
                raise JobFailed(f"The webhook was not delivered. {told}") from failed
            raise JobLater(told, _PAUSES_SECONDS[number - 1]) from failed
        await context.progress(number, TRIES, await _told(layer, context, number, f"delivered ({status})"))
        return {"status": status}

    layer.register_job(WEBHOOK, deliver, at_once=WEBHOOKS_AT_ONCE)


async def _ended(layer: ChainlitLayer, job_id: str) -> Job:
    """The job, when its end is stored."""
    while True:
        found = await layer.get_job(job_id)
        if found is None:
            raise NotFound(f"there is no job {job_id}")
        if found.is_finished:
            return found
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


def _message(job: Job) -> dict[str, Any]:
    return {
        "type": {"done": "answer.completed", "cancelled": "answer.cancelled"}.get(job.state, "answer.failed"),
        "timestamp": job.ended_at,
        "data": {
            "job_id": job.id,
            "thread_id": job.arguments["thread"],
            "question_id": job.arguments["question"],
            "answer_id": (job.result or {}).get("answer"),
            "error": job.error,
        },
    }


async def _told(layer: ChainlitLayer, context: JobContext, number: int, what: str) -> str:
    """What became of all tries so far, which the job shows."""
    job = await layer.get_job(context.job_id)
    before = f"{job.text} " if job is not None and job.text else ""
    told = f"{before}Try {number}: {what}."
    await context.progress(number, TRIES, told)
    return told


def _reason(failed: FetchFailed) -> str:
    host = failed.values.get("host")
    match failed.kind:
        case "status":
            return f"{host} answered with {failed.values['status']}"
        case "private":
            return f"{host} is at an address that is not allowed"
        case "certificate":
            return f"the certificate of {host} is not valid"
        case "timeout":
            return f"{host} gave no answer in {_SECONDS:g} seconds"
        case "unreachable":
            return f"{host} could not be reached"
        case _:
            return "the address is not one of API_WEBHOOK_HOSTS"


async def _post(places: Places, address: URL, headers: dict[str, str], body: bytes) -> int:
    """Send the message; gives the status of the answer, from 200 to 299. Raises FetchFailed."""
    import aiohttp  # noqa: PLC0415  a server without webhooks does not need it here

    from threadkeeper.knowledge.fetching.addresses import guarded_sockets  # noqa: PLC0415
    from threadkeeper.knowledge.fetching.failures import told_failures  # noqa: PLC0415

    rule = places.host_of(address)
    connector = aiohttp.TCPConnector(use_dns_cache=False, socket_factory=guarded_sockets(rule.networks))
    # Proxies and passwords of the environment are left out (`trust_env`).
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=_SECONDS),
        headers={"User-Agent": "Threadkeeper"},
    ) as session:
        with told_failures(address):
            async with session.post(address, data=body, headers=headers, allow_redirects=False) as answer:
                if not 200 <= answer.status < 300:
                    raise FetchFailed("status", host=address.host, status=answer.status)
                return answer.status
