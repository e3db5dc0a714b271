"""A question without an answer: what the user learns, what the question remembers, and how it is asked again."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import chainlit as cl

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import DataLayerError
from threadkeeper import metrics
from threadkeeper.chat.attachments.reader import AttachmentRefused
from threadkeeper.chat.context.refusals import ATTACHMENT, FAILED, REFUSED, WITHOUT_FILES
from threadkeeper.chat.model import NEED_ANOTHER_MODEL, ModelError
from threadkeeper.chat.wording import explain, say
from threadkeeper.conversation.notices import notice
from threadkeeper.conversation.offers import offer, try_again
from threadkeeper.conversation.reply import say_error
from threadkeeper.conversation.turn_order import Turns
from threadkeeper.tracing.hooks import note_failure

logger = logging.getLogger(__name__)


class Failures:
    """Stores with each question how it failed, so that a refused one is not sent again by itself."""

    def __init__(self, layer: ChainlitLayer, turns: Turns) -> None:
        self._layer = layer
        self._turns = turns

    async def say(
        self,
        message: cl.Message,
        error: ModelError,
        language: str,
        *,
        model: str,
        has_files: bool,
        has_text: bool = False,
        is_retried: bool = True,
    ) -> cl.Message:
        """Put the error of a model under its question; returns the message.

        Args:
            message: the question.
            error: the error.
            language: of the user.
            model: the model that was asked.
            has_files: whether files of the question were sent.
            has_text: whether a part of the answer arrived.
            is_retried: whether the same question to the same model can succeed.
        """
        self.count(error)
        sentence = explain(error, language, model=model)
        is_refused = error.kind in REFUSED
        if not has_text or is_refused:
            await self._remember(message, {**(message.metadata or {}), FAILED: error.kind})
        if is_refused and has_files and message.content.strip():
            return await self._say_without_files(sentence, message, language, model=model)
        # A button would ask the same model again: the page sends the picked model only with a new message.
        is_final = error.kind in NEED_ANOTHER_MODEL
        said = await say_error(sentence, model=model, is_final=is_final)
        if is_retried and not is_final:
            await offer(self._turns, cl.context.session, [try_again(message.id, language, model=model)], said.id)
        return said

    def count(self, error: ModelError) -> None:
        """Count the error in the metrics, and say it in the trace of the answer."""
        metrics.model_errors.labels(error.kind).inc()
        note_failure(error.kind)

    async def say_file(self, message: cl.Message, refusal: AttachmentRefused, language: str, *, model: str) -> None:
        """Say why a file of the question was not taken. `model`: the one that was picked for the question."""
        await self._remember(message, {**(message.metadata or {}), FAILED: ATTACHMENT})
        sentence = refusal.notice.say(language)
        if message.content.strip():
            await self._say_without_files(sentence, message, language, model=model, is_of_model=False)
        else:
            await say_error(sentence)

    async def forget(self, message: cl.Message) -> None:
        """The question has an answer again."""
        metadata = dict(message.metadata or {})
        if metadata.pop(FAILED, None) is not None:
            await self._remember(message, metadata)

    async def renew(self, message: cl.Message, elements: Sequence[Mapping[str, Any]], language: str) -> None:
        """Prepare a question that is asked again: files that were refused are not sent a second time.

        Args:
            message: the question.
            elements: the ElementDicts of the thread.
            language: of the user.
        """
        metadata, turns = dict(message.metadata or {}), self._turns.of(cl.context.session)
        was_refused = metadata.pop(FAILED, None) in REFUSED or message.id in turns.refused
        turns.refused.discard(message.id)
        has_files = bool(message.elements) or any(element.get("forId") == message.id for element in elements)
        drops_files = was_refused and has_files and not metadata.get(WITHOUT_FILES) and bool(message.content.strip())
        if drops_files:
            metadata[WITHOUT_FILES] = True
            await notice(say("files_dropped", language)).send()
        if metadata != (message.metadata or {}):
            await self._remember(message, metadata)

    async def _say_without_files(
        self, sentence: str, message: cl.Message, language: str, *, model: str, is_of_model: bool = True
    ) -> cl.Message:
        """`is_of_model`: whether the model refused the files, and not this chat."""
        way_out = say("way_out_files", language)
        said = await say_error(f"{sentence} {way_out}", model=model if is_of_model else None)
        button = try_again(message.id, language, model=model, without_files=True)
        await offer(self._turns, cl.context.session, [button], said.id)
        return said

    async def _remember(self, message: cl.Message, metadata: dict[str, Any]) -> None:
        message.metadata = metadata
        try:
            await self._layer.update_step(message.to_dict())
        except DataLayerError:
            # The layer has logged and shown the failure.
            logger.debug("a question does not remember its failure", extra={"step_id": message.id})
