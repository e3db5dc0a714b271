"""Messages once more: edit a question, write its answer anew, continue an incomplete answer, mark favourites."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from datalayer import ApiKey, InvalidRecord
from threadkeeper.jobs.answers import CONTINUED, TEXT_PRINT
from threadkeeper.program_turns import AskThread, ProgramTurn, TurnRefused
from threadkeeper.web.api.access import Caller, Reader, Writer
from threadkeeper.web.api.later import LATER, Prefer, answer_later, is_for_later, refusal
from threadkeeper.web.api.messages import STREAMED, StreamedTurn, checked, end_of, read_reasons, vote_on
from threadkeeper.web.api.once import Once, note_done
from threadkeeper.web.api.paging import Cursor, Limit
from threadkeeper.web.api.problems import invalid, not_found
from threadkeeper.web.api.route import ERRORS, PREFIX, ApiRoute
from threadkeeper.web.api.shapes import (
    AnewAnswer,
    ContinuedAnswer,
    EditedQuestion,
    Favorite,
    FavoritePage,
    Turn,
    message_of,
)
from threadkeeper.web.api.threads import demand_own_thread
from threadkeeper.web.pages.dependencies import Layer

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)

_ASKS: dict[str, Any] = {
    "dependencies": [Once],
    "response_model": Turn,
    "responses": {200: STREAMED, **LATER},
    "openapi_extra": {ERRORS: [502]},
}


@router.post("/threads/{thread_id}/messages/{message_id}/edit", **_ASKS)
async def edit_question(
    *,
    request: Request,
    caller: Writer,
    layer: Layer,
    thread_id: str,
    message_id: str,
    given: EditedQuestion,
    prefer: Prefer = None,
) -> Any:
    """Give a question another text, and answer it anew, as the chat does. All messages behind it are deleted."""
    own_id = await demand_own_thread(layer, caller, thread_id)
    asks = await checked(request, caller, given.content, given.model)
    if is_for_later(request, given, prefer):

        def store(key: ApiKey) -> Awaitable[str]:
            return asks.store_again(own_id, message_id, text=given.content, model=given.model, key=key)

        return await answer_later(request, caller, layer, own_id, store, webhook=given.webhook, is_again=True)

    def begin(key: ApiKey) -> Awaitable[ProgramTurn]:
        return asks.ask_again(own_id, message_id, text=given.content, model=given.model, key=key)

    return await _answered(request, caller, layer, own_id, begin, streams=given.stream)


@router.post("/threads/{thread_id}/messages/{message_id}/regenerate", **_ASKS)
async def regenerate_answer(
    *,
    request: Request,
    caller: Writer,
    layer: Layer,
    thread_id: str,
    message_id: str,
    given: Annotated[AnewAnswer, Body(default_factory=lambda: AnewAnswer.model_validate({}))],
    prefer: Prefer = None,
) -> Any:
    """Answer the last question anew. The id is that of its answer, of the error in place of one, or of the question."""
    own_id = await demand_own_thread(layer, caller, thread_id)
    asks = await checked(request, caller, None, given.model)
    if is_for_later(request, given, prefer):

        def store(key: ApiKey) -> Awaitable[str]:
            return asks.store_again(own_id, message_id, model=given.model, key=key)

        return await answer_later(request, caller, layer, own_id, store, webhook=given.webhook, is_again=True)

    def begin(key: ApiKey) -> Awaitable[ProgramTurn]:
        return asks.ask_again(own_id, message_id, model=given.model, key=key)

    return await _answered(request, caller, layer, own_id, begin, streams=given.stream)


@router.post("/threads/{thread_id}/messages/{message_id}/continue", **_ASKS)
async def continue_answer(
    *,
    request: Request,
    caller: Writer,
    layer: Layer,
    thread_id: str,
    message_id: str,
    given: Annotated[ContinuedAnswer, Body(default_factory=lambda: ContinuedAnswer.model_validate({}))],
    prefer: Prefer = None,
) -> Any:
    """Let the model go on with the last answer, if that was stopped or cut off, or became too long."""
    own_id = await demand_own_thread(layer, caller, thread_id)
    asks: AskThread = request.state.ask_thread
    if is_for_later(request, given, prefer):
        of_answer: dict[str, str] = {}

        async def store(key: ApiKey) -> str:
            found = await asks.unfinished(own_id, message_id, key=key)
            of_answer.update({CONTINUED: message_id, TEXT_PRINT: found.text_print})
            return found.question_id

        webhook = given.webhook
        return await answer_later(request, caller, layer, own_id, store, webhook=webhook, is_again=True, more=of_answer)

    def begin(key: ApiKey) -> Awaitable[ProgramTurn]:
        return asks.continue_answer(own_id, message_id, key=key)

    return await _answered(request, caller, layer, own_id, begin, streams=given.stream)


async def _answered(
    request: Request,
    caller: Caller,
    layer: Layer,
    thread_id: str,
    begin: Callable[[ApiKey], Awaitable[ProgramTurn]],
    *,
    streams: bool,
) -> Any:
    """The end of a turn, or its events."""
    assert caller.key is not None
    try:
        turn = await begin(caller.key)
    except TurnRefused as refused:
        raise refusal(refused) from None
    note_done(request, thread_id)
    return StreamedTurn(turn, layer, thread_id) if streams else await end_of(turn, layer, thread_id)


@router.get("/favorites")
async def list_favorites(caller: Reader, layer: Layer, cursor: Cursor = None, limit: Limit = 20) -> FavoritePage:
    """The messages that the user marked as favourites, newest first."""
    try:
        page, following = await layer.page_of_favorites(caller.user_id, cursor=cursor, limit=limit)
    except InvalidRecord:
        raise invalid("query.cursor", "it is not the `next_cursor` of a page") from None
    shown = [Favorite(thread_id=str(one["threadId"]), message=message_of(one, vote_on(one))) for one in page]
    await read_reasons(layer, [one.message for one in shown])
    return FavoritePage(data=shown, next_cursor=following)


@router.put("/threads/{thread_id}/messages/{message_id}/favorite", status_code=204)
async def mark_favorite(_caller: Writer, layer: Layer, thread_id: str, message_id: str) -> None:
    """Mark a message as a favourite."""
    await _mark(layer, thread_id, message_id, True)


@router.delete("/threads/{thread_id}/messages/{message_id}/favorite", status_code=204)
async def unmark_favorite(_caller: Writer, layer: Layer, thread_id: str, message_id: str) -> None:
    """Take the mark away."""
    await _mark(layer, thread_id, message_id, False)


async def _mark(layer: Layer, thread_id: str, message_id: str, is_favorite: bool) -> None:
    if not await layer.has_message(thread_id, message_id):
        raise not_found("message")
    await layer.set_step_favorite({"id": message_id, "threadId": thread_id}, is_favorite)
