"""The versions of a question and its answer, which edits and new answers replaced: read them, and put one back."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from threadkeeper.program_turns import AskThread, TurnRefused
from threadkeeper.web.api.access import Reader, Writer
from threadkeeper.web.api.later import refusal
from threadkeeper.web.api.messages import end_of
from threadkeeper.web.api.once import Once, note_done
from threadkeeper.web.api.paging import Cursor, Limit, page_of
from threadkeeper.web.api.route import ERRORS, PREFIX, ApiRoute
from threadkeeper.web.api.shapes import Turn
from threadkeeper.web.api.threads import demand_own_thread
from threadkeeper.web.pages.dependencies import Layer

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)

Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="Of the version; the oldest is 1.")]


class MessageVersion(BaseModel):
    """The texts of a question and its answer as they are, or were."""

    number: int
    is_current: bool = Field(description="Whether the thread has it now.")
    question: str
    answer: str
    answer_id: str
    thought: str = Field(description="What the model thought, of an earlier answer; else empty.")


class VersionPage(BaseModel):
    data: list[MessageVersion]
    next_cursor: str | None


@router.get("/threads/{thread_id}/messages/{message_id}/versions")
async def list_versions(
    *,
    request: Request,
    caller: Reader,
    layer: Layer,
    thread_id: str,
    message_id: str,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> VersionPage:
    """All versions of a question and its answer, oldest first. The id is that of the question or its answer."""
    own_id = await demand_own_thread(layer, caller, thread_id)
    asks: AskThread = request.state.ask_thread
    try:
        found = await asks.versions(own_id, message_id)
    except TurnRefused as refused:
        raise refusal(refused) from None
    shown = [
        MessageVersion(number=at + 1, is_current=at == found.at, **one._asdict()) for at, one in enumerate(found.all)
    ]
    page, following = page_of(shown, lambda one: str(one.number), cursor, limit)
    return VersionPage(data=page, next_cursor=following)


@router.post(
    "/threads/{thread_id}/messages/{message_id}/versions/{number}/restore",
    dependencies=[Once],
    openapi_extra={ERRORS: [502]},
)
async def restore_version(
    *, request: Request, caller: Writer, layer: Layer, thread_id: str, message_id: str, number: Number
) -> Turn:
    """Put a version of the last question and its answer back in place of the current one, which stays as a version."""
    own_id = await demand_own_thread(layer, caller, thread_id)
    asks: AskThread = request.state.ask_thread
    assert caller.key is not None
    try:
        turn = await asks.put_back(own_id, message_id, number - 1, key=caller.key)
    except TurnRefused as refused:
        raise refusal(refused) from None
    note_done(request, own_id)
    return await end_of(turn, layer, own_id)
