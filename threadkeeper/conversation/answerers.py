"""Finds out who answers a turn, and prepares the question as that assistant asks it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import chainlit as cl
from chainlit.session import BaseSession, WebsocketSession

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.assistants import Assistant
from datalayer.records.knowledge import Passage
from threadkeeper.chat.assistants import (
    Found,
    Retriever,
    answers_unknown,
    demo_quotes,
    idk_text,
    numbered,
    prompted,
    prompted_to_continue,
)
from threadkeeper.chat.context.history import CONTINUE_PROMPT, Question
from threadkeeper.chat.wording import say
from threadkeeper.conversation.assistants import Answerer, answerer_of
from threadkeeper.conversation.chat_settings import Choices, offer_models, offer_no_settings, offer_settings
from threadkeeper.conversation.notices import notice
from threadkeeper.conversation.passages import NO_PASSAGES, Passages, passages_of
from threadkeeper.conversation.reply import purpose_of_session
from threadkeeper.conversation.turn_order import Turns
from threadkeeper.offered_models import OfferedModels
from threadkeeper.tracing.hooks import note_assistant


@dataclass(frozen=True, slots=True)
class Prepared:
    """A question as it is sent, with the parameters of the answer. With `idk`, that text is the answer."""

    question: Question
    choices: Choices
    passages: Passages = NO_PASSAGES
    idk: str | None = None


async def offer_choices(
    answerer: Answerer, default: Choices, values: Mapping[str, Any], modes: object, language: str
) -> None:
    """Offer the settings and the models of a conversation that is opened; an assistant has its own settings."""
    if answerer.assistant is None:
        await offer_settings(values, default, language)
    else:
        await offer_no_settings()
    await offer_models(answerer.models, answerer.model(modes), language)


class Answerers:
    """Looks up the assistant of a session for each turn, and finds the passages for its questions.

    `offered` knows the models; `default_prompt` is for assistants without a prompt.
    """

    def __init__(
        self,
        layer: ChainlitLayer,
        turns: Turns,
        *,
        offered: OfferedModels,
        default_prompt: str,
        retriever: Retriever | None = None,
    ) -> None:
        self._layer = layer
        self._turns = turns
        self._offered = offered
        self._default_prompt = default_prompt
        self._retriever = retriever

    async def of_turn(self, session: BaseSession, modes: object, language: str) -> Answerer:
        """Who answers a question with these modes now. Of a missing assistant the user is told, once in a session.

        Raises:
            DataLayerError: the assistant cannot be read.
        """
        turns = self._turns.of(session)
        answerer = await answerer_of(self._layer, self._offered, session.chat_profile)
        if answerer.missing and turns.answerer.missing != answerer.missing:
            await notice(answerer.why(language)).send()
        if isinstance(session, WebsocketSession) and turns.answerer.models != answerer.models:
            # Decided since the page was opened, or since its last question. A new picker forgets what was picked.
            await offer_models(answerer.models, answerer.model(modes), language)
        turns.answerer = answerer
        if answerer.assistant is not None:
            note_assistant(answerer.assistant.slug, answerer.assistant.version)
        return answerer

    async def prepare(
        self, answerer: Answerer, question: Question, steps: Sequence[Mapping[str, Any]], own: Choices, language: str
    ) -> Prepared:
        """The question as the assistant asks it.

        Args:
            answerer: who answers.
            question: as the user typed it.
            steps: the StepDicts before it.
            own: the user's own settings, which hold for the default chat.
            language: of the user.

        Raises:
            ModelError: the passages for the question cannot be searched.
        """
        assistant, choices = answerer.assistant, answerer.choices(own)
        if assistant is None:
            return Prepared(question, choices)
        found = await self._find(answerer, assistant, question.text, steps)
        passages = numbered(found.passages)
        if answers_unknown(assistant.settings, passages):
            return Prepared(question, choices, idk=idk_text(assistant.settings))
        prompt = prompted(assistant.settings, question.text, passages, self._default_prompt)
        return Prepared(
            replace(question, text=prompt.question),
            replace(choices, system_prompt=prompt.system_prompt),
            Passages(passages, found.training_id, demo_quotes(passages, language), self._retriever),
        )

    async def prepare_to_continue(
        self,
        answerer: Answerer,
        asked: str,
        steps: Sequence[Mapping[str, Any]],
        answer: Mapping[str, Any],
        own: Choices,
        *,
        language: str,
    ) -> Prepared:
        """The request for the rest of an answer to this question.

        The passages have the numbers that the answer cites. If none of them is there any more, others are looked up,
        with the numbers behind.

        Args:
            answerer: who answers.
            asked: the question.
            steps: the StepDicts before it.
            answer: the StepDict of the answer so far.
            own: the user's own settings.
            language: of the user.

        Raises:
            ModelError: the passages for the question cannot be searched.
        """
        assistant, choices = answerer.assistant, answerer.choices(own)
        if assistant is None:
            return Prepared(Question(CONTINUE_PROMPT), choices)
        before, passages, found = passages_of(answer), dict[int, Passage](), Found()
        if before and self._retriever is not None:
            found = await self._retriever.again(assistant, [fact["id"] for fact in before])
            there = {one.id: one for one in found.passages}
            passages = {
                fact["number"]: replace(there[fact["id"]], score=fact["score"])
                for fact in before
                if fact["id"] in there
            }
        if not passages:
            found = await self._find(answerer, assistant, asked, steps)
            passages = numbered(found.passages, 1 + max((fact["number"] for fact in before), default=0))
        if answers_unknown(assistant.settings, passages):
            return Prepared(Question(CONTINUE_PROMPT), choices, idk=idk_text(assistant.settings))
        prompt = prompted_to_continue(assistant.settings, asked, passages, self._default_prompt)
        return Prepared(
            Question(CONTINUE_PROMPT),
            replace(choices, system_prompt=prompt),
            Passages(passages, found.training_id, demo_quotes(passages, language), self._retriever),
        )

    async def _find(
        self, answerer: Answerer, assistant: Assistant, question: str, steps: Sequence[Mapping[str, Any]]
    ) -> Found:
        if self._retriever is None:
            return Found()
        purpose = purpose_of_session("embedding", cl.context.session.thread_id, answerer)
        return await self._retriever.find(assistant, question, steps, purpose)

    async def pick(self, answerer: Answerer, message: cl.Message, language: str) -> str:
        """The model that answers: the assistant's, else the one that was picked. The user is told of another one."""
        model, wanted = answerer.model(message.modes), answerer.unavailable(message.modes)
        # The picker of the page may still have the model of an earlier conversation, or one that was taken away.
        if wanted is not None:
            await cl.context.emitter.send_toast(say("model_unknown", language, model=wanted, other=model), "info")
        return model
