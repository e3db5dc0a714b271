"""The name of a thread: its title after the first answer, and what the page is told of it."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import chainlit as cl

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import DataLayerError
from threadkeeper.chat.model import Model, Purpose
from threadkeeper.chat.titles import TitleMissed, make_title
from threadkeeper.conversation.reply import asking_program
from threadkeeper.jobs.titles import TITLE

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Untitled:
    """A thread that has only the name that Chainlit gave it.

    `question` is the first one that was not refused, a step with `id` and `output`; the answer is its answer.
    """

    thread_id: str
    name: str
    question: dict[str, Any]
    answer_id: str
    answer: str


def may_be_titled(title_model: str) -> bool:
    """Whether a title may be made now. A key does not pay for a model that it does not allow."""
    program = asking_program.get()
    return program is None or not program.models or title_model in program.models


async def give_title(
    layer: ChainlitLayer, model: Model, title_model: str, purpose: Purpose, untitled: Untitled
) -> None:
    """Replace the name that Chainlit took from the first question, unless the user has renamed the thread.

    A job makes the title later if the model is away, or if the server stops meanwhile.
    """
    thread_id, name, question = untitled.thread_id, untitled.name, untitled.question
    try:
        title = await make_title(model, question["output"], untitled.answer, title_model=title_model, purpose=purpose)
    except (TitleMissed, asyncio.CancelledError) as error:
        ids = {"thread": thread_id, "question": question["id"], "answer": untitled.answer_id}
        try:
            await layer.start_job(TITLE, ids, key=thread_id)
        except DataLayerError as failure:
            logger.warning("a title is not made later: %s", failure, extra={"thread_id": thread_id})
        if isinstance(error, asyncio.CancelledError):
            raise
        return
    if title is None:
        return
    try:
        if await layer.replace_thread_name(thread_id, name, title):
            await tell_name(thread_id, title)
    except DataLayerError as error:
        logger.warning("a title was not stored: %s", error, extra={"thread_id": thread_id})


async def tell_name(thread_id: str, name: str) -> None:
    """Tell the page the name of its thread. Chainlit's side bar then loads its list again."""
    emitter = cl.context.emitter
    await emitter.emit("first_interaction", {"interaction": name, "thread_id": thread_id})
    # For `public/page/thread.js`: the title of the tab, and the address on a phone, where the side bar is closed.
    await emitter.send_window_message({"threadkeeper": {"thread": thread_id, "name": name}})
