"""`/interactions/`: the threads of the user, in the shape of a small chat API: settings with model, role and prompt.

An interaction is a thread. Its prompt is the system prompt of the thread, and its model is asked.
"""

import uuid
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from datalayer import ThreadChoice
from threadkeeper.program_turns import LONGEST_SYSTEM_PROMPT, SYSTEM_PROMPT
from threadkeeper.web.api.access import Reader, Writer
from threadkeeper.web.api.messages import begin_turn, demand_offered, end_of, messages_of
from threadkeeper.web.api.once import Once, note_done
from threadkeeper.web.api.paging import Cursor
from threadkeeper.web.api.route import ERRORS, ApiRoute
from threadkeeper.web.api.shapes import LONGEST_QUESTION, Message, Strict
from threadkeeper.web.api.threads import own_head, own_whole_thread, page_of_threads
from threadkeeper.web.pages.dependencies import Layer

SETTINGS = "interaction"
"""Metadata key of a thread: model and role."""
_LARGEST_PAGE = 50
_LONGEST_MODEL = 200
_LONGEST_ROLE = 100

router = APIRouter(prefix="/interactions", route_class=ApiRoute)


class InteractionSettings(Strict):
    model: Annotated[str, Field(max_length=_LONGEST_MODEL)] | None = Field(
        None, description="One of the models on offer."
    )
    role: Annotated[str, Field(max_length=_LONGEST_ROLE)] = Field(
        default="System", description="A name for the prompt, which is sent as the system's."
    )
    prompt: Annotated[str, Field(max_length=LONGEST_SYSTEM_PROMPT)] | None = Field(
        None, description="The system prompt."
    )


class NewInteraction(Strict):
    settings: InteractionSettings = Field(
        default_factory=lambda: InteractionSettings(model=None, role="System", prompt=None)
    )


class NewInteractionMessage(Strict):
    content: Annotated[str, Field(min_length=1, max_length=LONGEST_QUESTION)]
    role: Literal["Human"] = "Human"


class InteractionMessage(BaseModel):
    id: str
    interaction_id: str
    created_at: str | None
    role: Literal["Human", "AI"]
    content: str
    is_error: bool = Field(description="Whether it says why there is no answer.")


class Interaction(BaseModel):
    id: str
    created_at: str | None
    updated_at: str | None
    settings: InteractionSettings
    messages: list[InteractionMessage]


class Interactions(BaseModel):
    data: list[Interaction]
    next_cursor: str | None = None


class InteractionMessages(BaseModel):
    data: list[InteractionMessage]


@router.get("/")
async def list_interactions(
    caller: Reader,
    layer: Layer,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=_LARGEST_PAGE)] = 20,
) -> Interactions:
    """The interactions with their settings and messages, last activity first, empty ones too."""
    found = await page_of_threads(layer, caller, ThreadChoice(is_archived=None, is_temporary=None), cursor, limit)
    return Interactions(
        data=[_interaction(one) for one in await layer.get_threads([one.id for one in found.threads])],
        next_cursor=found.next_cursor,
    )


@router.post("/", status_code=201, dependencies=[Once])
async def create_interaction(
    request: Request, caller: Writer, layer: Layer, given: NewInteraction | None = None
) -> Interactions:
    """Make an interaction."""
    settings = (given or NewInteraction()).settings
    await demand_offered(request, caller, settings.model, "body.settings.model")
    metadata: dict[str, Any] = {SETTINGS: {"model": settings.model, "role": settings.role}}
    if settings.prompt is not None:
        metadata["chat_settings"] = {SYSTEM_PROMPT: settings.prompt}
    thread_id = str(uuid.uuid4())
    await layer.update_thread(thread_id, name="", user_id=caller.user_id, metadata=metadata)
    note_done(request, thread_id)
    return Interactions(data=[_interaction(one) for one in await layer.get_threads([thread_id])])


@router.get("/{interaction_id}/messages/")
async def list_interaction_messages(caller: Reader, layer: Layer, interaction_id: UUID) -> InteractionMessages:
    """The messages of an interaction, oldest first. A failed answer is there, with its reason."""
    thread = await own_whole_thread(layer, caller, str(interaction_id), what="interaction")
    return InteractionMessages(data=_interaction(thread).messages)


@router.post("/{interaction_id}/messages/", status_code=201, dependencies=[Once], openapi_extra={ERRORS: [502]})
async def create_interaction_message(
    request: Request, caller: Writer, layer: Layer, interaction_id: UUID, given: NewInteractionMessage
) -> InteractionMessages:
    """Ask with the whole interaction as context, and wait for the answer: gives the question and the answer."""
    thread = await own_head(layer, caller, str(interaction_id), what="interaction")
    model = _settings(thread).model
    begun = await begin_turn(request, caller, thread["id"], given.content, model, is_of_thread=True)
    turn = await end_of(begun, layer, thread["id"])
    return InteractionMessages(data=[_message(one, thread["id"]) for one in (turn.question, turn.answer)])


def _settings(thread: dict[str, Any]) -> InteractionSettings:
    metadata = thread.get("metadata") or {}
    stored = metadata.get(SETTINGS)
    kept = stored if isinstance(stored, dict) else {}
    of_chat = metadata.get("chat_settings")
    prompt = of_chat.get(SYSTEM_PROMPT) if isinstance(of_chat, dict) else None
    # A page of the chat may have stored a longer prompt, and another version other values.
    return InteractionSettings(
        model=_text(kept.get("model"), _LONGEST_MODEL),
        role=_text(kept.get("role"), _LONGEST_ROLE) or "System",
        prompt=_text(prompt, LONGEST_SYSTEM_PROMPT),
    )


def _text(stored: object, longest: int) -> str | None:
    return stored[:longest] or None if isinstance(stored, str) else None


def _interaction(thread: dict[str, Any]) -> Interaction:
    return Interaction(
        id=thread["id"],
        created_at=thread.get("createdAt"),
        updated_at=thread.get("updatedAt"),
        settings=_settings(thread),
        messages=[_message(one, thread["id"]) for one in messages_of(thread)],
    )


def _message(message: Message, thread_id: str) -> InteractionMessage:
    return InteractionMessage(
        id=message.id,
        interaction_id=thread_id,
        created_at=message.created_at,
        role="Human" if message.role == "user" else "AI",
        content=message.content,
        is_error=message.is_error,
    )
