"""The job that answers a question of a program in the background.

The question is stored before the job begins, and the job has ids alone. So a process that dies loses no question; the
next one finds the answer if it is stored, and asks the model again only for one that was cut.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from datalayer import ApiKey, JobContext, JobFailed
from datalayer.cleaning import utc_now
from datalayer.errors import JobLater, StorageUnavailable
from datalayer.records.jobs import UNFINISHED
from threadkeeper.jobs.webhooks import start_missing_webhook, start_webhook
from threadkeeper.program_turns import BackgroundTurns, ProgramTurn, TurnRefused, TurnResult, UnfinishedAnswer
from threadkeeper.tracing import hooks

if TYPE_CHECKING:
    # The API uses the name of the kind, and does not wait for Chainlit.
    from datalayer.chainlit_layer import ChainlitLayer

ANSWER = "answer"
THREAD, QUESTION, KEY, WEBHOOK_URL, AFTER, TRACE = "thread", "question", "key", "webhook", "after", "traceparent"
CONTINUED, TEXT_PRINT = "continued", "text_print"
"""Keys of the arguments. AFTER is the job of the question before, if that one waited for its answer. TRACE, which is
there while telemetry is on, names the request that asked. CONTINUED is the answer that is to be continued, and
TEXT_PRINT what its text was."""
_ANSWERS, _CONTINUES = 1, 2
"""The formats of the kind. A version before 2 cannot continue an answer, and answers all other questions."""
ANSWERS_AT_ONCE = 32
_LOOK_EVERY_SECONDS = 0.2
_SELDOM_SECONDS = 2.0
_SELDOMEST_SECONDS = 30.0
_HOLD_SECONDS = 10.0
"""How long a question that waits for another one keeps its place among those that are answered at once."""


def format_of(arguments: Mapping[str, Any]) -> int:
    """The oldest format that can do what these arguments say."""
    return _CONTINUES if CONTINUED in arguments else _ANSWERS


def register_answers(layer: "ChainlitLayer", turns: BackgroundTurns) -> None:
    async def answer(context: JobContext) -> dict[str, Any]:
        try:
            with hooks.continued(context.arguments.get(TRACE)):
                result = await _answered(layer, turns, context)
        except asyncio.CancelledError:
            if context.cancelled:
                await start_webhook(layer, context.job_id, context.arguments)
            raise
        except (JobLater, StorageUnavailable):
            # The job is begun again.
            raise
        except Exception:
            await start_webhook(layer, context.job_id, context.arguments)
            raise
        await start_webhook(layer, context.job_id, context.arguments)
        return {"answer": result.answer_id}

    tell = partial(start_missing_webhook, layer)
    for number in (_ANSWERS, _CONTINUES):
        layer.register_job(ANSWER, answer, format=number, at_once=ANSWERS_AT_ONCE, on_ending=tell)


async def _answered(layer: "ChainlitLayer", turns: BackgroundTurns, context: JobContext) -> TurnResult:
    key = await _key(layer, str(context.arguments[KEY]))
    turn = await _turn(layer, turns, context, key)
    if turn is None:
        raise asyncio.CancelledError
    result = turn if isinstance(turn, TurnResult) else await _end_of(context, turn)
    if result.answer_id is None:
        raise JobFailed(result.failure or "There is no answer, because it was stopped or failed.")
    if not await layer.get_thread_author(str(context.arguments[THREAD])):
        raise JobFailed("The thread was deleted before its answer was complete.")
    return result


async def _key(layer: "ChainlitLayer", key_id: str) -> ApiKey:
    """The key that asked, if it is still valid."""
    key = await layer.get_api_key(key_id)
    if key is None or key.revoked_at is not None or key.is_expired_at(utc_now()):
        raise JobFailed("The API key was revoked or has expired before the question was answered.")
    return key


async def _turn(
    layer: "ChainlitLayer", turns: BackgroundTurns, context: JobContext, key: ApiKey
) -> ProgramTurn | TurnResult | None:
    """The turn of the question, when the thread is free and earlier questions are answered; None if it is cancelled."""
    thread_id, question_id = str(context.arguments[THREAD]), str(context.arguments[QUESTION])
    earlier, pause, waited = context.arguments.get(AFTER), _LOOK_EVERY_SECONDS, 0.0
    while not context.cancelled:
        if earlier is not None and await _is_finished(layer, str(earlier)):
            earlier = None
        if earlier is None:
            try:
                if (answer_id := context.arguments.get(CONTINUED)) is not None:
                    begun = UnfinishedAnswer(question_id, str(context.arguments[TEXT_PRINT]))
                    return await turns.go_on(thread_id, str(answer_id), begun, key=key)
                return await turns.answer(thread_id, question_id, key=key)
            except TurnRefused as refused:
                if refused.kind != "busy":
                    raise JobFailed(refused.sentence) from refused
        elif context.attempt > 1 or waited >= _HOLD_SECONDS:
            # It gives its place to questions of other threads.
            why = "The question before it in its thread is not answered yet."
            raise JobLater(why, min(_SELDOM_SECONDS * context.attempt, _SELDOMEST_SECONDS), is_interruption=False)
        await asyncio.sleep(pause)
        waited += pause
        pause = min(pause * 1.5, _SELDOM_SECONDS)
    return None


async def last_answer_of(layer: "ChainlitLayer", thread_id: str) -> str | None:
    """The id of the job of the newest question of the thread that waits for its answer."""
    cursor: str | None = None
    while True:
        page = await layer.list_jobs(kinds=[ANSWER], states=UNFINISHED, cursor=cursor)
        found = next((job.id for job in page.jobs if job.arguments.get(THREAD) == thread_id), None)
        if found is not None or page.next_cursor is None:
            return found
        cursor = page.next_cursor


async def _is_finished(layer: "ChainlitLayer", job_id: str) -> bool:
    job = await layer.get_job(job_id)
    return job is None or job.is_finished


async def _end_of(context: JobContext, turn: ProgramTurn) -> TurnResult:
    ending = asyncio.ensure_future(turn.result())
    try:
        while not ending.done():
            await asyncio.wait([ending], timeout=_LOOK_EVERY_SECONDS)
            if context.cancelled:
                turn.stop()
                await asyncio.wait([ending])
                raise asyncio.CancelledError
        return await ending
    except asyncio.CancelledError:
        # The process stops, or has lost the job: another one asks.
        turn.stop()
        raise
