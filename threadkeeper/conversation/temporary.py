"""Temporary threads: a button in the composer of a new chat makes its thread one that is deleted after a day."""

import chainlit as cl
from chainlit.types import CommandDict

from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.chat.wording import say
from threadkeeper.conversation.notices import notice
from threadkeeper.program_turns import TEMPORARY_SECONDS

TEMPORARY = "temporary"
"""The key by which the notice is known: a copy of the thread, which is kept, goes without it."""


def temporary_command(language: str) -> CommandDict:
    """The button. Chainlit shows the id of a command as its name."""
    return {
        "id": say("temporary_command", language),
        "description": say("temporary_command_hint", language),
        "icon": "timer",
        "button": True,
        "persistent": True,
        "selected": False,
    }


async def offer_commands(language: str, *, begins: bool) -> None:
    """Show the commands of the composer. `begins`: for a thread without a question."""
    await cl.context.emitter.set_commands([temporary_command(language)] if begins else [])


async def begin_thread(layer: ChainlitLayer, question: cl.Message, thread_id: str, language: str) -> None:
    """Make the thread of a first question temporary if the button was pressed, and tell so in it.

    Raises:
        DataLayerError: the thread cannot be stored.
    """
    if question.command == say("temporary_command", language):
        # Stored before the page asks for the list of threads again.
        await layer.make_temporary(thread_id, TEMPORARY_SECONDS)
        await notice(say("notice_temporary", language), **{TEMPORARY: True}).send()
    await offer_commands(language, begins=False)
