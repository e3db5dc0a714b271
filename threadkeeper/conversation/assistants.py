"""Assistants in the chat: as Chainlit's profiles, and the one that answers a conversation.

The name of the profile is the slug of the assistant. A session has it from the page or from its thread, and both can be
wrong: the assistant may have been deleted, or may not be for this user. So it is looked up for every turn, in one
statement, as the acting user. If it cannot answer, the default chat does, and says so.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import chainlit as cl
from chainlit.config import config
from chainlit.session import WebsocketSession

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import DataLayerError, Forbidden, NotFound
from datalayer.history.answers import ASSISTANT, PROLOGUE, VERSION
from datalayer.ownership import SYSTEM, acting_as, acting_user
from datalayer.records.assistants import DEFAULT_ASSISTANT, Assistant
from threadkeeper.chat.assistants import sampling_of
from threadkeeper.chat.model import Purpose
from threadkeeper.chat.wording import say
from threadkeeper.conversation.chat_settings import Choices, chosen_model, picked_model
from threadkeeper.offered_models import OfferedModels
from threadkeeper.settings.root_path import root_path, under_root

logger = logging.getLogger(__name__)

_LONGEST_LABEL = 60
_LONGEST_NAME = 100
_MOST_SUGGESTED = 4
"""Of twenty; more would fill the page of a phone."""


@dataclass(frozen=True, slots=True)
class Answerer:
    """Who answers a turn: the assistant, or the default chat (None).

    `missing` is the slug of the assistant in whose place the default chat answers, and `sentence` the key of the
    sentence that says why. `offered` are the models on offer for the user, the default first; empty before it is
    looked up.
    """

    assistant: Assistant | None = None
    missing: str = ""
    sentence: str = ""
    offered: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, str]:
        """The metadata of what it says, from which the review knows who said it."""
        if self.assistant is not None:
            return {ASSISTANT: self.assistant.slug, VERSION: self.assistant.reference}
        return {ASSISTANT: DEFAULT_ASSISTANT} if self.missing else {}

    def why(self, language: str) -> str:
        """The sentence that says why the default chat answers."""
        return say(self.sentence, language, name=self.missing)

    def notices(self, modes: object, language: str) -> list[str]:
        """What a thread says when it is opened: why the default chat, or another model, answers from now on."""
        said = [self.why(language)] if self.missing else []
        if (gone := self.unavailable(modes)) is not None:
            said.append(say("notice_model_unavailable", language, model=gone, other=self.model(modes)))
        return said

    def choices(self, own: Choices) -> Choices:
        """The parameters of the answer: those of the assistant, else the user's own."""
        if self.assistant is None:
            return own
        settings = self.assistant.settings
        return replace(
            own,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            sampling=sampling_of(settings),
        )

    @property
    def models(self) -> tuple[str, ...]:
        """The models to choose from: the one of the assistant, if it names one that is on offer."""
        return (self._own_model,) if self._own_model in self.offered else self.offered

    def model(self, modes: object) -> str:
        """The model that answers a question with these modes."""
        return chosen_model(modes, self.models)

    def unavailable(self, modes: object) -> str | None:
        """The model of the assistant, else the picked one, if it is not on offer; None if it is, or none is wanted."""
        wanted = self._own_model or picked_model(modes)
        return wanted if wanted and self.offered and wanted not in self.offered else None

    @property
    def _own_model(self) -> str:
        return self.assistant.settings.model if self.assistant is not None else ""

    def purpose(self, purpose: Purpose) -> Purpose:
        """The purpose of a call for this answer."""
        if self.assistant is None:
            return replace(purpose, assistant=None)
        return replace(purpose, assistant=self.assistant.slug, assistant_version=self.assistant.version)


DEFAULT_CHAT = Answerer()


async def answerer_of(layer: ChainlitLayer, offered: OfferedModels, profile: str | None) -> Answerer:
    """Who answers the acting user in a session with this profile. One statement; none without a profile.

    Raises:
        DataLayerError: the assistant or the choice of models cannot be read.
    """
    names = (await offered.of(acting_user.get())).names
    if not profile or profile == DEFAULT_ASSISTANT:
        return Answerer(offered=names)
    # A page can send any text.
    name = profile[:_LONGEST_NAME]
    try:
        return Answerer(await layer.usable_assistant(profile), offered=names)
    except NotFound:
        return Answerer(missing=name, sentence="notice_assistant_deleted", offered=names)
    except Forbidden:
        return Answerer(missing=name, sentence="notice_assistant_not_yours", offered=names)


async def chat_profiles(layer: ChainlitLayer, language: str | None) -> list[cl.ChatProfile]:
    """The profiles that the acting user can choose from: the default chat, then the assistants by name.

    Without any assistant there is no profile, and Chainlit's page shows no choice.
    """
    try:
        assistants = await layer.list_assistants()
    except DataLayerError as error:
        # The page opens all the same, and shows what fails next.
        logger.error("the assistants cannot be offered: %s", error)
        return []
    if not assistants:
        return []
    default = cl.ChatProfile(
        name=DEFAULT_ASSISTANT,
        display_name=say("assistant_default", language),
        markdown_description=say("assistant_default_hint", language),
        default=True,
    )
    suggested = await suggestions_of(layer, assistants)
    return [default, *(_profile(assistant, suggested.get(assistant.slug, ())) for assistant in assistants)]


async def opening_prompts(layer: ChainlitLayer, assistant: Assistant) -> Sequence[str]:
    """What an assistant offers to ask: its own prompts, else questions that its documents answer."""
    suggested = await suggestions_of(layer, [assistant])
    return assistant.settings.opening_prompts or suggested.get(assistant.slug, ())


async def suggestions_of(layer: ChainlitLayer, assistants: Sequence[Assistant]) -> dict[str, tuple[str, ...]]:
    """Questions that assistants without opening prompts of their own can answer, by their slugs; a few of each."""
    without = [assistant.slug for assistant in assistants if not assistant.settings.opening_prompts]
    if not without:
        return {}
    try:
        # The caller may use these assistants.
        with acting_as(SYSTEM):
            found = await layer.suggestions_of(without)
    except DataLayerError as error:
        logger.error("the questions of assistants cannot be offered: %s", error)
        return {}
    return {slug: questions[:_MOST_SUGGESTED] for slug, questions in found.items()}


def _profile(assistant: Assistant, suggested: Sequence[str]) -> cl.ChatProfile:
    settings = assistant.settings
    prompts = settings.opening_prompts or suggested
    # Chainlit shows starters only while there is no message; under a prologue, they are buttons.
    starters = [] if settings.prologue else [cl.Starter(_short(text), text) for text in prompts]
    return cl.ChatProfile(
        name=assistant.slug,
        display_name=settings.name,
        markdown_description=settings.description or settings.name,
        icon=picture_address(assistant),
        starters=starters,
    )


def picture_address(assistant: Assistant) -> str | None:
    if assistant.picture is None:
        return None
    return under_root(f"/assistants/{quote(assistant.slug)}/picture/{assistant.picture}", root_path())


def keep_one_configuration() -> None:
    """Give all sessions the application's configuration, because no profile overrides it.

    Otherwise Chainlit asks for the profiles in the constructor of each session with a profile, in a way that cannot
    work inside a running event loop: the call fails, is swallowed, and leaves a coroutine that nobody awaits.
    """
    WebsocketSession.config = config


async def send_prologue(answerer: Answerer) -> cl.Message | None:
    """Show the first message of an assistant. It is stored when the thread begins, with the first question."""
    assistant = answerer.assistant
    if assistant is None or not assistant.settings.prologue:
        return None
    metadata = {"status": PROLOGUE, **answerer.facts}
    message = cl.Message(content=assistant.settings.prologue, metadata=metadata)
    await message.send()
    return message


def profile_of_thread(thread: Mapping[str, Any]) -> str | None:
    """The assistant that a thread was begun with.

    Chainlit stores it at the end of a session. If the process died before, the thread's messages know it.
    """
    stored = (thread.get("metadata") or {}).get("chat_profile")
    if isinstance(stored, str) and stored:
        return None if stored == DEFAULT_ASSISTANT else stored
    named = ((step.get("metadata") or {}).get(ASSISTANT) for step in reversed(thread.get("steps") or ()))
    return next((slug for slug in named if isinstance(slug, str) and slug != DEFAULT_ASSISTANT), None)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LABEL else f"{line[: _LONGEST_LABEL - 1].rstrip()}…"
