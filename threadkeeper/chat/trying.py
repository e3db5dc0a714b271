"""Asks an assistant one question outside of a thread, with settings that need not be saved."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from datalayer.ownership import acting_user
from datalayer.records.assistants import Assistant
from datalayer.records.knowledge import Passage
from datalayer.records.usage import LlmCall
from threadkeeper.chat.answer import no_answer
from threadkeeper.chat.assistants import (
    Found,
    Retriever,
    answers_unknown,
    demo_quotes,
    idk_text,
    numbered,
    prompted,
    sampling_of,
)
from threadkeeper.chat.context.history import Question, build_messages
from threadkeeper.chat.context.tokens import window_of
from threadkeeper.chat.model import Model, ModelError, ModelRequest, NotShown, Purpose
from threadkeeper.chat.wording import explain
from threadkeeper.offered_models import OfferedModels

KIND = "try"
"""The kind of the calls."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it. `error` is a sentence for the user, `left_out` the parameters that the server refused, `below`
    the best passages below the threshold.

    If `is_unknown`, the answer is the `idk` text, and no model was asked: `model` is empty.
    """

    answer: str
    model: str
    seconds: float
    passages: Sequence[Passage] = ()
    below: Sequence[Passage] = ()
    is_unknown: bool = False
    left_out: tuple[str, ...] = ()
    error: str | None = None


class Trial:
    """Asks the model. The calls are metered, and count for the user who tries."""

    def __init__(
        self,
        model: Model,
        *,
        offered: OfferedModels,
        default_prompt: str,
        window: int | None = None,
        retriever: Retriever | None = None,
    ) -> None:
        """
        Args:
            model: answers.
            offered: the models on offer.
            default_prompt: for assistants without a prompt.
            window: tokens that question and answer may have together; if None, the model's known window.
            retriever: finds passages.
        """
        self._model, self._offered = model, offered
        self._default_prompt = default_prompt
        self._window = window
        self._retriever = retriever

    async def __call__(
        self,
        assistant: Assistant,
        question: str,
        *,
        user_id: str,
        language: str,
        key_id: str | None = None,
        project_id: str | None = None,
        on_call: Callable[[LlmCall], None] | None = None,
    ) -> Tried:
        """Ask the question, as the acting user. A failure of the model is part of the result.

        Args:
            assistant: with the settings that are tried.
            question: the text.
            user_id, language: of who tries.
            key_id, project_id, on_call: as of `Purpose`.

        Raises:
            DataLayerError: it is not known which models are on offer.
        """
        settings, began = assistant.settings, time.perf_counter()
        choice = await self._offered.of(acting_user.get())
        model = settings.model if settings.model in choice.names else choice.default
        version = assistant.version or None
        purpose = Purpose(
            KIND,
            user_id=user_id,
            assistant=assistant.slug or None,
            assistant_version=version,
            key_id=key_id,
            project_id=project_id,
            on_call=on_call,
        )
        left_out: list[str] = []
        found, answer, error = Found(), "", None
        try:
            if self._retriever is not None:
                found = await self._retriever.find(assistant, question, (), purpose)
            passages = numbered(found.passages)
            if answers_unknown(settings, passages):
                seconds = time.perf_counter() - began
                return Tried(idk_text(settings), "", seconds, below=found.below, is_unknown=True)
            prompt = prompted(settings, question, passages, self._default_prompt)
            context = await build_messages(
                [],
                [],
                Question(prompt.question),
                model=model,
                window=window_of(model, self._window, demo=self._model.demo),
                max_tokens=settings.max_tokens,
                system_prompt=prompt.system_prompt,
            )
            request = ModelRequest(
                context.messages,
                model,
                settings.temperature,
                settings.max_tokens,
                purpose=purpose,
                sampling=sampling_of(settings),
                left_out=left_out,
                demo_answer=demo_quotes(passages, language),
            )
            completion = await self._model.complete(request)
            answer = completion.text
            if not answer.strip():
                # Pictures are not shown here either.
                not_shown = [one.kind if isinstance(one, NotShown) else "pictures" for one in completion.others]
                raise no_answer(completion.finish, completion.thought, not_shown, settings.max_tokens)
        except ModelError as failure:
            error = explain(failure, language, model=model)
        seconds = time.perf_counter() - began
        return Tried(answer, model, seconds, found.passages, found.below, left_out=tuple(left_out), error=error)
