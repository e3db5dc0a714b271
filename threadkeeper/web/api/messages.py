"""Messages of a thread: read them, ask a question, vote on an answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from datalayer import ApiKey, InvalidRecord
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.program_turns import AskThread, ProgramTurn, TurnRefused, TurnResult
from threadkeeper.web.api.access import Caller, Reader, Writer
from threadkeeper.web.api.later import LATER, Prefer, answer_later, is_for_later, refusal
from threadkeeper.web.api.once import Once, id_for, note_done, note_unfinished
from threadkeeper.web.api.paging import Cursor, Limit
from threadkeeper.web.api.problems import Problem, invalid, not_found, problem_of
from threadkeeper.web.api.route import ERRORS, PREFIX, ApiRoute
from threadkeeper.web.api.shapes import (
    Message,
    MessagePage,
    NewMessage,
    NewVote,
    StoppedAnswer,
    Turn,
    is_answer,
    message_of,
)
from threadkeeper.web.api.threads import demand_own_thread, own_whole_thread
from threadkeeper.web.pages.dependencies import Layer

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)

_EVENT = {
    "description": "One event of the stream; `data` is JSON.",
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["event", "data"],
}
STREAMED: dict[str, Any] = {"content": {"text/event-stream": {"schema": _EVENT}}}
"""What a streamed turn answers with, for the documentation of a route."""
_ROLES = ("user_message", "assistant_message")
_OF_LIMITS = ("over_limit", "in_flight", "unpriced")


@router.get("/threads/{thread_id}/messages")
async def list_messages(
    *,
    _: Reader,
    layer: Layer,
    thread_id: str,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> MessagePage:
    """The messages of a thread, oldest first."""
    try:
        found = await layer.messages_in_order(thread_id, cursor=cursor, limit=limit)
    except InvalidRecord:
        raise invalid("query.cursor", "it is not the `next_cursor` of a page") from None
    if found is None:
        raise not_found("thread")
    page, following = found
    shown = [message_of(step, vote_on(step)) for step in page]
    await read_reasons(layer, shown)
    return MessagePage(data=shown, next_cursor=following)


@router.post(
    "/threads/{thread_id}/messages",
    dependencies=[Once],
    response_model=Turn,
    responses={200: STREAMED, **LATER},
    openapi_extra={ERRORS: [502]},
)
async def ask(
    *, request: Request, caller: Writer, layer: Layer, thread_id: str, given: NewMessage, prefer: Prefer = None
) -> Any:
    """Ask a question, and wait for its answer, or get it as it is written (`stream`), or later (`background`).

    It is answered as in the chat: with the thread as context, by its assistant, within the limits. The answer is
    written to its end also if the program goes away.

    The events of a stream are `question` (the id of the question), `text` (the next piece of the answer), `taken_back`
    (the text so far is no answer), `notice`, and at the end `turn` (the question and the answer, as without a stream)
    or `problem`.
    """
    own_id = await demand_own_thread(layer, caller, thread_id)
    if is_for_later(request, given, prefer):
        asks = await checked(request, caller, given.content, given.model)

        def store(key: ApiKey) -> Awaitable[str]:
            elements, question_id = given.elements, id_for(request)
            return asks.store(
                own_id, given.content, model=given.model, key=key, elements=elements, question_id=question_id
            )

        return await answer_later(request, caller, layer, own_id, store, webhook=given.webhook)
    turn = await begin_turn(request, caller, own_id, given.content, given.model, elements=given.elements)
    if given.stream:
        return StreamedTurn(turn, layer, own_id)
    return await end_of(turn, layer, own_id)


async def checked(request: Request, caller: Caller, content: str | None, model: str | None) -> AskThread:
    """Who asks this question.

    Raises:
        Problem: its new text has no letter, or its model is not on offer for the caller.
    """
    if content is not None and not content.strip():
        raise invalid("body.content", "it has no text")
    asks: AskThread = request.state.ask_thread
    await demand_offered(request, caller, model, "body.model")
    return asks


async def demand_offered(request: Request, caller: Caller, model: str | None, field: str) -> None:
    """Require that a model is on offer for the caller.

    Raises:
        Problem: it is not.
    """
    if model is not None:
        asks: AskThread = request.state.ask_thread
        models = await asks.models_of(caller.identifier)
        if model not in models:
            raise invalid(field, f"it is not on offer for {caller.identifier}: {', '.join(models)}")


async def begin_turn(
    request: Request,
    caller: Caller,
    thread_id: str,
    content: str,
    model: str | None,
    *,
    elements: Sequence[str] = (),
    is_of_thread: bool = False,
) -> ProgramTurn:
    """Ask a question.

    Args:
        request, caller: who asks.
        thread_id, content, model, elements: the question.
        is_of_thread: the model is that of the thread. If it is no longer on offer, the default answers and says so.

    Raises:
        Problem: it has no text, its model is not on offer, or it is refused.
    """
    assert caller.key is not None
    asks = await checked(request, caller, content, None if is_of_thread else model)
    try:
        turn = await asks(
            thread_id, content, model=model, key=caller.key, elements=elements, question_id=id_for(request)
        )
    except TurnRefused as refused:
        raise refusal(refused) from None
    note_done(request, thread_id)
    return turn


@router.post("/threads/{thread_id}/stop", dependencies=[Once])
async def stop_answer(*, request: Request, caller: Writer, layer: Layer, thread_id: str) -> StoppedAnswer:
    """Stop the answer that is being written in a thread, as Stop on a page, whoever asked; it keeps its text so far.

    Without such an answer, nothing happens. Questions that wait for theirs are answered: cancel their jobs.
    """
    own_id = await demand_own_thread(layer, caller, thread_id)
    asks: AskThread = request.state.ask_thread
    has_ended = await asks.stop(own_id)
    if has_ended:
        note_done(request, own_id)
    else:
        note_unfinished(request)
    await layer.settled(own_id)
    # Questions that wait stand behind it; a notice is in place of an answer without text.
    said = [one for one in messages_of(await own_whole_thread(layer, caller, own_id)) if one.role == "assistant"]
    stopped = [one for one in said[-1:] if one.status == "stopped"]
    await read_reasons(layer, stopped)
    return StoppedAnswer(is_answering=not has_ended, answer=stopped[0] if stopped else None)


@router.put("/threads/{thread_id}/messages/{message_id}/feedback")
async def vote(
    *, request: Request, caller: Writer, layer: Layer, thread_id: str, message_id: str, given: NewVote
) -> Message:
    """Vote on an answer, in place of an earlier vote."""
    own_id = await demand_own_thread(layer, caller, thread_id)
    offered: Sequence[str] = request.state.asked_reasons
    if unknown := [one for one in given.reasons if one not in offered]:
        raise invalid("body.reasons", f"{unknown[0][:60]!r} is not offered: {', '.join(offered) or 'none is'}")
    if given.reasons and given.value == "up":
        raise invalid("body.reasons", "a thumbs-up has no reasons")
    step_id = await layer.vote_on_answer(message_id, int(given.value == "up"), thread_id=own_id)
    if step_id is None:
        raise not_found("answer")
    # A PUT replaces the whole vote, with what an earlier one of the same value said.
    await layer.give_reasons(step_id, given.reasons, given.comment or "")
    answer = _answer(await own_whole_thread(layer, caller, own_id), message_id)
    await read_reasons(layer, [answer])
    return answer


@router.delete("/threads/{thread_id}/messages/{message_id}/feedback", status_code=204)
async def withdraw_vote(*, caller: Writer, layer: Layer, thread_id: str, message_id: str) -> None:
    """Withdraw the vote on an answer."""
    found = _answer(await own_whole_thread(layer, caller, thread_id), message_id)
    if found.feedback is None or not await layer.delete_feedback(found.feedback.id):
        raise not_found("vote")


class StreamedTurn(StreamingResponse):
    """The events of a turn. `whole` gives all of them at its end, whether or not somebody reads them."""

    def __init__(self, turn: ProgramTurn, layer: ChainlitLayer, thread_id: str) -> None:
        super().__init__(self._lines(turn, layer, thread_id), media_type="text/event-stream")
        self.headers["X-Accel-Buffering"] = "no"
        self._again = self._lines(turn, layer, thread_id)

    async def whole(self) -> str:
        return "".join([line async for line in self._again])

    @staticmethod
    async def _lines(turn: ProgramTurn, layer: ChainlitLayer, thread_id: str) -> AsyncIterator[str]:
        async for event in turn.events():
            if event.kind == "question":
                yield _line("question", {"id": event.id})
            elif event.kind == "text":
                yield _line("text", {"id": event.id, "text": event.text})
            elif event.kind == "taken_back":
                yield _line("taken_back", {"id": event.id})
            elif event.kind == "notice":
                yield _line("notice", {"text": event.text})
        try:
            yield _line("turn", (await end_of(turn, layer, thread_id)).model_dump())
        except Exception as error:  # noqa: BLE001  as `ApiRoute` does
            yield _line("problem", json.loads(bytes(problem_of(error).response().body)))


def _line(name: str, data: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def end_of(turn: ProgramTurn | TurnResult, layer: ChainlitLayer, thread_id: str) -> Turn:
    """The question and the answer, when the turn has ended.

    Raises:
        Problem: there is no answer.
    """
    result = turn if isinstance(turn, TurnResult) else await asyncio.shield(turn.result())
    await layer.settled(thread_id)
    thread = await layer.get_thread(thread_id)
    if thread is None:
        raise Problem(404, "not-found", "The thread was deleted before its answer was complete.")
    messages = {one.id: one for one in messages_of(thread)}
    question = messages.get(result.question_id)
    answer = messages.get(result.answer_id or "")
    if question is None or answer is None:
        raise _failure(result)
    await read_reasons(layer, [answer])
    return Turn(question=question, answer=answer, notices=result.notices)


def _failure(result: TurnResult) -> Problem:
    if result.is_shutdown and not result.failure:
        sentence = "The server stopped before the first word of the answer. The question is in the thread."
        return Problem(503, "server-stopped", sentence, headers={"Retry-After": "5"})
    if result.was_stopped and not result.failure:
        return Problem(409, "answer-stopped", "The answer was stopped before its first word.")
    status = 429 if result.failure_kind in _OF_LIMITS else 502
    kind = f"answer-{result.failure_kind.replace('_', '-') or 'failed'}"
    return Problem(status, kind, result.failure or "There is no answer.")


def messages_of(thread: Mapping[str, Any]) -> list[Message]:
    """The messages of a ThreadDict, oldest first."""
    steps = {step["id"]: step for step in thread.get("steps", ())}
    # The vote on an answer is stored on its run, as Chainlit does.
    runs = {key: step.get("feedback") for key, step in steps.items() if step["type"] == "run"}
    return [
        message_of(step, step.get("feedback") or (runs.get(step.get("parentId")) if is_answer(step) else None))
        for step in steps.values()
        if step["type"] in _ROLES
    ]


async def read_reasons(layer: ChainlitLayer, messages: Sequence[Message]) -> None:
    """Add their reasons to the caller's votes on these messages."""
    votes = [one.feedback for one in messages if one.feedback is not None]
    # A thumbs-up has none.
    found = await layer.reasons_of_votes([one.id for one in votes if one.value == "down"])
    for vote in votes:
        vote.reasons = list(found.get(vote.id, ()))


def vote_on(step: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The vote on a StepDict of a page of the layer: that on its run is on the answer, not on a notice beside it."""
    vote: Mapping[str, Any] | None = step.get("feedback")
    return vote if vote is None or vote["forId"] == step["id"] or is_answer(step) else None


def _answer(thread: Mapping[str, Any], message_id: str) -> Message:
    """An answer in a ThreadDict.

    Raises:
        Problem: there is none.
    """
    found = next((one for one in messages_of(thread) if one.id == message_id), None)
    if found is None or found.role != "assistant":
        raise not_found("answer")
    return found
