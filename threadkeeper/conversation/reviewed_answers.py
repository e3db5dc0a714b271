"""The review in the user's chat: shows which answers were reviewed, if REVIEW_TELL_USERS is set."""

import logging

import chainlit as cl

from datalayer import DataLayerError
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.chat.wording import say
from threadkeeper.conversation.language import language_of_session

logger = logging.getLogger(__name__)

REVIEWED = "answer_reviewed"


async def show_reviewed(layer: ChainlitLayer, thread_id: str, language: str) -> None:
    """Mark each reviewed answer of the thread."""
    try:
        reviewed = await layer.reviewed_answers(thread_id)
    except DataLayerError as error:
        logger.warning("cannot show which answers were reviewed: %s", error, extra={"thread_id": thread_id})
        return
    for one in reviewed:
        button = cl.Action(
            name=REVIEWED,
            payload={},
            label=say("reviewed", language),
            tooltip=say("reviewed_hint", language, day=one.reviewed_at[:10]),
            icon="clipboard-check",
            id=f"reviewed-{one.step_id}",
        )
        await button.send(for_id=one.step_id)


async def explain_review() -> None:
    """Explain the button "reviewed" after a click."""
    await cl.context.emitter.send_toast(say("reviewed_words", language_of_session()), "info")
