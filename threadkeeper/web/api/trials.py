"""Trials of assistants: a question to settings that need not be saved, as on the page of an assistant."""

import asyncio
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from datalayer import InvalidAssistant
from datalayer.assistants.checking import Problems, check_settings
from datalayer.records.assistants import Assistant
from datalayer.records.knowledge import Passage
from datalayer.records.usage import LlmCall
from threadkeeper.program_turns import AskThread, TurnRefused
from threadkeeper.web.api.access import AssistantCaller
from threadkeeper.web.api.assistant_shapes import ENGLISH, GivenSettings, problem_of_assistant
from threadkeeper.web.api.assistants import own_assistant, settings_with
from threadkeeper.web.api.later import refusal
from threadkeeper.web.api.once import note_done, once_with
from threadkeeper.web.api.problems import Problem
from threadkeeper.web.api.route import ERRORS, PREFIX, ApiRoute
from threadkeeper.web.api.shapes import Strict
from threadkeeper.web.assistants.editing import LONGEST_QUESTION
from threadkeeper.web.assistants.trying import TryAssistant
from threadkeeper.web.pages.dependencies import Layer

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)


class GivenTrial(Strict):
    question: Annotated[str, Field(min_length=1, max_length=LONGEST_QUESTION)]
    settings: GivenSettings | None = Field(None, description="Over those of the assistant; they are not saved.")


class FoundPassage(BaseModel):
    title: str
    text: str
    score: float


class ShownTrial(BaseModel):
    """An answer, which is stored nowhere. Its call counts for the user."""

    answer: str
    model: str = Field(description="Empty if no model was asked, because nothing was found.")
    seconds: float
    passages: list[FoundPassage] = Field(description="That the model got.")
    below: list[FoundPassage] = Field(description="The best ones below the threshold.")


@router.post("/assistants/{slug}/trials", dependencies=[once_with("assistants")], openapi_extra={ERRORS: [502]})
async def try_assistant(
    request: Request, caller: AssistantCaller, layer: Layer, slug: str, given: GivenTrial
) -> ShownTrial:
    """Ask an assistant a question outside of a thread, with settings that need not be saved.

    For the owner of the assistant and admins, within what the key allows.
    """
    found = await own_assistant(layer, slug)
    asks: TryAssistant | None = request.state.try_assistant
    if asks is None:
        raise Problem(503, "unavailable", "This server has no model for a trial.")
    assistant, key = _with(found, given), caller.key
    turns: AskThread = request.state.ask_thread
    # No page of ours can ask for this.
    assert key is not None
    try:
        project_id = await turns.demand_trial(found, assistant, key=key)
    except TurnRefused as refused:
        raise refusal(refused) from None
    calls: list[LlmCall] = []
    try:
        tried = await asks(
            assistant,
            given.question,
            user_id=caller.user_id,
            language=ENGLISH,
            key_id=key.id,
            project_id=project_id,
            on_call=calls.append,
        )
    finally:
        # A failed answer has used tokens too.
        used = sum((one.prompt_tokens or 0) + (one.completion_tokens or 0) for one in calls)
        await asyncio.shield(turns.count_tokens(key, used))
    note_done(request)
    if tried.error is not None:
        raise Problem(502, "answer-failed", tried.error)
    return ShownTrial(
        answer=tried.answer,
        model=tried.model,
        seconds=tried.seconds,
        passages=[_passage(one) for one in tried.passages],
        below=[_passage(one) for one in tried.below],
    )


def _with(found: Assistant, given: GivenTrial) -> Assistant:
    if given.settings is None:
        return found
    problems = Problems()
    settings = check_settings(settings_with(found.settings, given.settings), problems)
    try:
        problems.demand_none()
    except InvalidAssistant as error:
        raise problem_of_assistant(error) from None
    return replace(found, settings=settings)


def _passage(one: Passage) -> FoundPassage:
    return FoundPassage(title=one.document_title, text=one.text, score=one.score)
