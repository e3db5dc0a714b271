"""The commands of the composer: a button that makes a new thread temporary, and the user's prompts."""

import logging
from collections.abc import Mapping

import chainlit as cl
from chainlit.types import CommandDict

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import DataLayerError
from datalayer.history.copying import TEMPORARY_NOTICE
from threadkeeper.chat.wording import say
from threadkeeper.conversation.notices import notice
from threadkeeper.program_turns import TEMPORARY_SECONDS

logger = logging.getLogger(__name__)

_SHOWN_CHARACTERS = 80


async def prompts_of_user(layer: ChainlitLayer) -> dict[str, str]:
    """The texts of the acting user's prompts by name, in alphabetical order; none if they cannot be read now."""
    try:
        found = await layer.list_prompts()
    except DataLayerError as error:
        logger.warning("the prompts of a user cannot be offered: %s", error)
        return {}
    # One's own is before a shared one of its name.
    prompts: dict[str, str] = {}
    for one in found:
        prompts.setdefault(one.name, one.text)
    return prompts


async def offer_commands(prompts: Mapping[str, str], language: str, *, begins: bool) -> None:
    """Show the commands of the composer. `begins`: for a thread without a question."""
    commands = [_temporary_command(language)] if begins else []
    commands += [_command_of(name, text) for name, text in prompts.items() if name != temporary_name(language)]
    await cl.context.emitter.set_commands(commands)


def temporary_name(language: str) -> str:
    """The name of the button for a temporary thread. Chainlit shows the id of a command as its name."""
    return say("temporary_command", language)


async def begin_thread(
    layer: ChainlitLayer, question: cl.Message, thread_id: str, prompts: Mapping[str, str], language: str
) -> None:
    """Make the thread of a first question temporary if the button was pressed, and tell so in it.

    Raises:
        DataLayerError: the thread cannot be stored.
    """
    if question.command == temporary_name(language):
        # Stored before the page asks for the list of threads again.
        await layer.make_temporary(thread_id, TEMPORARY_SECONDS)
        await notice(say("notice_temporary", language), **{TEMPORARY_NOTICE: True}).send()
    await offer_commands(prompts, language, begins=False)


async def put_prompt_before(question: cl.Message, prompts: Mapping[str, str]) -> None:
    """Put the text of the chosen prompt before the question. The page's script does so before the question is sent;
    this is for pages without it."""
    text = prompts.get(question.command or "")
    if text is not None:
        question.content = f"{text}\n\n{question.content}".strip()
        question.command = None
        await question.update()


def _temporary_command(language: str) -> CommandDict:
    return {
        "id": temporary_name(language),
        "description": say("temporary_command_hint", language),
        "icon": "timer",
        "button": True,
        "persistent": True,
        "selected": False,
    }


def _command_of(name: str, text: str) -> CommandDict:
    shown = " ".join(text.split())
    return {
        "id": name,
        "description": shown[:_SHOWN_CHARACTERS] + ("…" if len(shown) > _SHOWN_CHARACTERS else ""),
        "icon": "message-square-text",
        "button": False,
        "persistent": False,
        "selected": False,
    }
