"""API of the scripts in `public/page/`. The data layer checks ownership.

`request.state.asked_reasons` are the reasons that a thumbs-down can have; if there is none, the page asks for none.
"""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, Field

from datalayer import Thread, ThreadChoice
from datalayer.organizing.organizing import LONGEST_TAG
from threadkeeper.language.catalogue import CHAT, PAGES
from threadkeeper.language.negotiation import language_for
from threadkeeper.shared_view import SHOWN_STEP_METADATA
from threadkeeper.web.auth.roles import LoggedIn
from threadkeeper.web.pages.dependencies import Layer

_PREFIX = "page_"
_LONGEST_WORDS = 1_000
_LONGEST_ID = 40
MOST_PINS = 20
MOST_IN_FOLDER = 50


class VoteOnAnswer(BaseModel):
    """A click on a thumb."""

    answer: str = Field(max_length=_LONGEST_ID)
    value: Literal[0, 1]


class Reasons(BaseModel):
    """The reasons of a vote. `step` is the one that has the vote."""

    step: str = Field(max_length=_LONGEST_ID)
    reasons: list[str] = Field(max_length=100)


class Marks(BaseModel):
    """What to do with a thread: pin or archive it, or undo that."""

    is_pinned: bool | None = None
    is_archived: bool | None = None


router = APIRouter(prefix="/page", include_in_schema=False)


@router.get("/texts")
async def read_texts(request: Request) -> dict[str, Any]:
    # For the page of the login, too.
    language = language_for(request.headers.get("accept-language"))
    messages = PAGES.messages(language).items()
    texts = {key.removeprefix(_PREFIX): message for key, message in messages if key.startswith(_PREFIX)}
    named = [[reason, _named(reason, language)] for reason in request.state.asked_reasons]
    return {"language": language, "texts": texts, "reasons": named}


@router.put("/vote")
async def vote(_person: LoggedIn, layer: Layer, given: VoteOnAnswer) -> dict[str, str]:
    step_id = await layer.vote_on_answer(given.answer, given.value)
    if step_id is None:
        raise HTTPException(404, "There is no such answer.")
    return {"step": step_id}


@router.put("/reasons")
async def give_reasons(request: Request, _person: LoggedIn, layer: Layer, given: Reasons) -> dict[str, bool]:
    if not set(given.reasons) <= set(request.state.asked_reasons):
        raise HTTPException(422, "There is no such reason.")
    if not await layer.give_reasons(given.step, given.reasons):
        raise HTTPException(404, "There is no such vote.")
    return {"success": True}


@router.get("/excerpts")
async def read_excerpts(
    _person: LoggedIn,
    layer: Layer,
    words: Annotated[str, Query(max_length=_LONGEST_WORDS)],
    thread: Annotated[list[str], Query(default_factory=list, max_length=100)],
) -> dict[str, Any]:
    # Counted before: 0 means that the excerpts, which are found later, lack nothing.
    left = await layer.own_texts_to_index()
    return {"found": [asdict(found) for found in await layer.excerpts(words, thread)], "left": left}


@router.get("/side-bar")
async def read_side_bar(
    person: LoggedIn, layer: Layer, tag: Annotated[str, Query(max_length=LONGEST_TAG)] = ""
) -> dict[str, Any]:
    """The pinned threads, the folders, and the newest threads of one of them."""
    pinned = await layer.own_threads(person.id, ThreadChoice(is_pinned=True), limit=MOST_PINS)
    inside = await layer.own_threads(person.id, ThreadChoice(tag=tag), limit=MOST_IN_FOLDER) if tag else None
    return {
        "pinned": [_linked(one) for one in pinned.threads],
        "folders": [asdict(one) for one in await layer.folders(person.id)],
        "inside": [_linked(one) for one in inside.threads] if inside else [],
        "is_more": inside is not None and inside.next_cursor is not None,
    }


@router.get("/prompts")
async def read_prompts(_person: LoggedIn, layer: Layer) -> dict[str, str]:
    """The texts of the prompts, by name; one's own takes the place of a shared one of its name."""
    return {one.name: one.text for one in reversed(await layer.list_prompts())}


@router.put("/threads/{thread_id}/marks")
async def mark_thread(_person: LoggedIn, layer: Layer, thread_id: str, given: Marks) -> dict[str, bool]:
    if not await layer.organize_threads([thread_id], is_pinned=given.is_pinned, is_archived=given.is_archived):
        raise HTTPException(404, "There is no such thread.")
    return {"success": True}


@router.get("/threads/{thread_id}")
async def read_heading(_person: LoggedIn, layer: Layer, thread_id: str) -> dict[str, Any] | None:
    # For a new thread too, which is not stored yet: a 404 would be an error in the browser's console.
    heading = await layer.heading_of_thread(thread_id)
    return asdict(heading) if heading is not None else None


@router.post("/threads/{thread_id}/copy")
async def copy_thread(_person: LoggedIn, layer: Layer, thread_id: str) -> dict[str, str]:
    return {"id": await layer.copy_shared_thread(thread_id, shown_metadata=SHOWN_STEP_METADATA)}


def _linked(thread: Thread) -> dict[str, str | None]:
    return {"id": thread.id, "name": thread.name}


def _named(reason: str, language: str) -> str:
    key = f"reason_{reason}"
    return CHAT.say(key, language) if key in CHAT else reason
