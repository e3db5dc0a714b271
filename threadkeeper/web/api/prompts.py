"""Prompts that the user keeps for the composer, and the shared ones."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from datalayer import AlreadyExists, Forbidden, InvalidRecord
from datalayer.cleaning import known_id
from datalayer.prompts.prompts import LONGEST_NAME, LONGEST_TEXT
from datalayer.records.prompts import Prompt
from threadkeeper.web.api.access import Reader, Writer
from threadkeeper.web.api.once import Once, note_done
from threadkeeper.web.api.problems import Problem, invalid, not_found
from threadkeeper.web.api.route import ERRORS, PREFIX, ApiRoute
from threadkeeper.web.api.shapes import Strict
from threadkeeper.web.me.prompts import is_command
from threadkeeper.web.pages.dependencies import Layer

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)


class NewPrompt(Strict):
    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, description="The command, without its slash.")]
    text: Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
    is_shared: bool = Field(default=False, description="Whether every user gets it; for admins.")


class ShownPrompt(BaseModel):
    id: str
    name: str
    text: str
    owner: str
    is_shared: bool
    updated_at: str


class ShownPrompts(BaseModel):
    data: list[ShownPrompt]


@router.get("/prompts")
async def list_prompts(_caller: Reader, layer: Layer) -> ShownPrompts:
    """The user's prompts and the shared ones, by name."""
    return ShownPrompts(data=[_shown(one) for one in await layer.list_prompts()])


@router.post("/prompts", status_code=201, dependencies=[Once])
async def create_prompt(request: Request, _caller: Writer, layer: Layer, given: NewPrompt) -> ShownPrompt:
    """Keep a prompt."""
    made = await _put(layer, given, None)
    note_done(request)
    return made


@router.put("/prompts/{prompt_id}", openapi_extra={ERRORS: [409]})
async def replace_prompt(_caller: Writer, layer: Layer, prompt_id: str, given: NewPrompt) -> ShownPrompt:
    """Change a prompt of the user."""
    known = known_id(prompt_id)
    if known is None:
        raise not_found("prompt")
    return await _put(layer, given, known)


@router.delete("/prompts/{prompt_id}", status_code=204)
async def delete_prompt(_caller: Writer, layer: Layer, prompt_id: str) -> None:
    """Delete a prompt of the user; admins delete shared ones, too."""
    known = known_id(prompt_id)
    if known is None or not await layer.delete_prompt(known):
        raise not_found("prompt")


async def _put(layer: Layer, given: NewPrompt, prompt_id: str | None) -> ShownPrompt:
    if is_command(given.name):
        raise invalid("body.name", "the name is that of a button of the chat")
    try:
        kept = await layer.put_prompt(given.name, given.text, is_shared=given.is_shared, prompt_id=prompt_id)
    except AlreadyExists:
        sentence = "The user has a prompt of this name already."
        raise Problem(409, "exists", sentence, [("body.name", "it is in use")]) from None
    except Forbidden:
        raise Problem(403, "forbidden", "Only admins share prompts.") from None
    except InvalidRecord as error:
        raise invalid("body.name", str(error)) from None
    return _shown(kept)


def _shown(prompt: Prompt) -> ShownPrompt:
    return ShownPrompt(
        id=prompt.id,
        name=prompt.name,
        text=prompt.text,
        owner=prompt.owner,
        is_shared=prompt.is_shared,
        updated_at=prompt.updated_at,
    )
