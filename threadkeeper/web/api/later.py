"""Answers in the background: the question is stored, and a job answers it."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol

from fastapi import Header, Request, Response
from fastapi.responses import JSONResponse

from datalayer import ApiKey, Job
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_in
from threadkeeper.jobs.answers import (
    AFTER,
    ANSWER,
    KEY,
    QUESTION,
    THREAD,
    TRACE,
    WEBHOOK_URL,
    format_of,
    last_answer_of,
)
from threadkeeper.knowledge.fetching.base import FetchFailed
from threadkeeper.knowledge.fetching.places import Places
from threadkeeper.program_turns import REPEATED_SECONDS, TurnRefused
from threadkeeper.tracing import hooks
from threadkeeper.web.api.access import Caller
from threadkeeper.web.api.jobs import address_of, shown_job
from threadkeeper.web.api.once import id_for, note_done
from threadkeeper.web.api.problems import Problem, invalid
from threadkeeper.web.api.shapes import ShownJob

Prefer = Annotated[list[str] | None, Header(max_length=20, description="`respond-async`: as `background`.")]
LATER: dict[int | str, dict[str, Any]] = {
    202: {"model": ShownJob, "description": "The answer is written in the background."}
}
"""The response of such a request, for the documentation of a route."""
_REFUSED = {
    "not-found": 404,
    "busy": 409,
    "too-late": 409,
    "model-not-allowed": 403,
    "rate-exceeded": 429,
    "file-refused": 422,
}


class Later(Protocol):
    """The fields of a body that say how it is answered."""

    stream: bool
    background: bool
    webhook: str | None


def is_for_later(request: Request, given: Later, prefer: Sequence[str] | None) -> bool:
    """Whether the answer is wanted in the background.

    Raises:
        Problem: the fields contradict each other, or the webhook may not be sent there.
    """
    if not (given.background or _wants_job(prefer)):
        if given.webhook is not None:
            raise invalid("body.webhook", "it is for answers in the background: set `background`")
        return False
    if given.stream:
        raise invalid("body.stream", "an answer in the background is not streamed")
    if given.webhook is not None:
        try:
            places: Places = request.state.webhook_places
            places.parse(given.webhook)
        except FetchFailed:
            raise invalid("body.webhook", "its host is not one of API_WEBHOOK_HOSTS, or it is no address") from None
    return True


def _wants_job(prefer: Sequence[str] | None) -> bool:
    """Whether one of the headers `Prefer` (RFC 7240) has `respond-async`."""
    preferences = [one.split(";")[0].strip().lower() for line in prefer or () for one in line.split(",")]
    return "respond-async" in preferences


async def answer_later(
    request: Request,
    caller: Caller,
    layer: ChainlitLayer,
    thread_id: str,
    store: Callable[[ApiKey], Awaitable[str]],
    *,
    webhook: str | None,
    is_again: bool = False,
    more: Mapping[str, str] | None = None,
) -> Response:
    """Store the question, and start the job that answers it.

    Args:
        request, caller, layer, thread_id: of the question.
        store: stores it for this key, and gives its id.
        webhook: an address that may be told of the end.
        more: further arguments of the job, which are complete when `store` has ended.
        is_again: whether the question was answered before. A job of that answer, which is perhaps not marked as done
            yet, is another one.

    Raises:
        Problem: the question is refused.
    """
    assert caller.key is not None
    key = id_for(request) if is_again else None
    # Before anything is stored: that would be refused while the job answers, and delete its answer afterwards.
    job = None if key is None else await _job_of_lost_attempt(layer, key)
    if job is None:
        try:
            question_id = await store(caller.key)
        except TurnRefused as refused:
            raise refusal(refused) from None
        arguments = {
            THREAD: thread_id,
            QUESTION: question_id,
            KEY: caller.key.id,
            WEBHOOK_URL: webhook,
            AFTER: await last_answer_of(layer, thread_id),
            **(more or {}),
        }
        if (trace := hooks.traceparent()) is not None:
            arguments[TRACE] = trace
        key = key if is_again else question_id
        job = await layer.start_job(ANSWER, arguments, key=key, format=format_of(arguments))
    # Not earlier: without a job, a repetition stores the same question, and starts it.
    note_done(request, thread_id)
    shown = await shown_job(layer, job)
    return JSONResponse(shown.model_dump(), 202, headers={"Location": address_of(job)})


async def _job_of_lost_attempt(layer: ChainlitLayer, key: str) -> Job | None:
    """The job of this key that an attempt of the same request started whose response was lost."""
    found = (await layer.list_jobs(kinds=[ANSWER], key=key, limit=1)).jobs
    # An older one is of an `Idempotency-Key` that was forgotten since.
    return found[0] if found and found[0].created_at >= utc_in(-REPEATED_SECONDS) else None


def refusal(refused: TurnRefused, field: str = "body.elements") -> Problem:
    """The problem of a question that is not asked; `field` is that of a refused file."""
    wait = refused.retry_after
    headers = None if wait is None else {"Retry-After": str(max(1, math.ceil(wait)))}
    errors = [(field, refused.sentence)] if refused.kind == "file-refused" else []
    return Problem(_REFUSED[refused.kind], refused.kind, refused.sentence, errors, headers)
