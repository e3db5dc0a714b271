"""One turn of a conversation: the context is built from the store, the answer is streamed, stored and finished.

An edit or a second try cuts what followed the question first.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import chainlit as cl

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import DataLayerError
from threadkeeper import metrics
from threadkeeper.chat.answer import Outcome, stream_answer
from threadkeeper.chat.context.history import (
    CONTINUE_PROMPT,
    DEFAULT_SYSTEM_PROMPT,
    NOTICE_STATUS,
    Question,
    build_messages,
)
from threadkeeper.chat.context.tokens import DEFAULT_WINDOW, context_window
from threadkeeper.chat.model import NEED_ANOTHER_MODEL, Model, ModelError, ModelRequest
from threadkeeper.chat.titles import make_title
from threadkeeper.chat.wording import explain, say
from threadkeeper.conversation.background import BackgroundTasks
from threadkeeper.conversation.chat_settings import MODEL, Choices, chosen_model
from threadkeeper.conversation.offers import (
    buttons_of,
    offer,
    say_stopped,
    try_again,
    version_buttons,
)
from threadkeeper.conversation.question import QuestionReader, say_notices
from threadkeeper.conversation.reply import (
    Reply,
    purpose_of_answer,
    purpose_of_session,
    put_back,
    remove_stop_notice,
    say_error,
)
from threadkeeper.conversation.turn_order import Turns
from threadkeeper.conversation.versions import versions_of
from threadkeeper.settings.settings import Settings

logger = logging.getLogger(__name__)

_OLDER_LEFT_OUT = "older_left_out"


class Answering:
    """Answers the questions of every conversation of this process.

    Attributes:
        models: the models on offer, the default first.
        default: the settings of a new chat.
        replies: the answers that are being written, by the id of their message.
        endings: tasks that store the end of a cancelled answer.
        is_stopping: set when the server stops, so that a cut answer is not marked as stopped by its user.
    """

    def __init__(
        self, layer: ChainlitLayer, model: Model, settings: Settings, turns: Turns, background: BackgroundTasks
    ) -> None:
        self._layer = layer
        self._model = model
        self._settings = settings
        self._turns = turns
        self._background = background
        self._questions = QuestionReader(layer, settings)
        self.models = ("demo",) if model.demo else settings.openai_models
        self.default = Choices(
            settings.system_prompt or DEFAULT_SYSTEM_PROMPT, settings.temperature, settings.max_tokens
        )
        self.replies: dict[str, Reply] = {}
        self.endings: set[asyncio.Task[None]] = set()
        self.is_stopping = False

    async def answer(self, message: cl.Message, language: str, *, again: bool) -> None:
        """Build the context of a question, stream the answer, and start the title of a new thread.

        Args:
            again: the question was asked before (an edit or a second try): what followed it is cut.

        Raises:
            AttachmentRefused: a file of the question cannot be taken.
            DataLayerError: the thread cannot be read or cut.
        """
        session = cl.context.session
        thread_id = session.thread_id
        turns = self._turns.of(session)
        begins = not turns.resumed and turns.asked == {message.id} and not again
        # A new thread is not in the store yet, and the answer does not wait until it is.
        thread = None if begins else await self._layer.get_thread(thread_id)
        if thread is None:
            if len(turns.asked) > 1:
                await say_error(say("thread_deleted", language))
                return
            thread = {"steps": [], "elements": [], "name": message.content}
            self._background.start(self._tell_address(thread_id, message.content))
        steps = await self._cut_what_followed(thread, message) if again else _before(thread, message)
        if again and (version := turns.restored) is not None:
            turns.restored = None
            restored = await put_back(self._layer, version.answer)
            status = str((restored.metadata or {})["status"])
            await self._offer(message.id, restored.id, status, language, again=True)
            return
        question = await self._questions.read(thread, message)
        choices = Choices.from_values(cl.context.session.chat_settings, self.default)
        model = await self._pick(message, language)
        try:
            context = await build_messages(
                steps,
                thread["elements"],
                question,
                model=model,
                window=self.window_of(model),
                max_tokens=choices.max_tokens,
                system_prompt=choices.system_prompt,
                vision=self._settings.openai_vision,
                load_attachment=self._questions.stored,
            )
        except ModelError as error:
            logger.warning("no answer: %s", error, extra={"thread_id": thread_id})
            metrics.model_errors.labels(error.kind).inc()
            await say_error(explain(error, language, model=model), model=model)
            return
        await say_notices(question, language)
        if context.left_out and not any((step.get("metadata") or {}).get(_OLDER_LEFT_OUT) for step in steps):
            notice = {"status": NOTICE_STATUS, _OLDER_LEFT_OUT: True}
            await cl.Message(content=say("older_left_out", language), metadata=notice).send()
        request = ModelRequest(context.messages, model, choices.temperature, choices.max_tokens)
        reply = Reply(self._layer, model, language, footer=self._settings.usage_footer)
        outcome = await self._stream(request, reply, message.id, thread_id, language)
        await self._end(outcome, reply, message.id, model, language, again=again)
        # Until it has a title, a thread is named after its first question.
        first = next((step["output"] for step in steps if step["type"] == "user_message"), message.content)
        if outcome.text and thread["name"] == first:
            self._background.start(self._title(thread_id, first, outcome.text))

    def window_of(self, model: str) -> int:
        """The tokens that question and answer may have together. OPENAI_CONTEXT_TOKENS replaces the known window."""
        if self._settings.openai_context_tokens is not None:
            return self._settings.openai_context_tokens
        return DEFAULT_WINDOW if self._model.demo else context_window(model)

    async def continue_answer(
        self, message: cl.Message, thread: dict[str, Any], answer: dict[str, Any], language: str
    ) -> None:
        """Let the model continue an incomplete answer, the last message of the thread, and append the text to it."""
        at = next(position for position, step in enumerate(thread["steps"]) if step["id"] == answer["id"])
        choices = Choices.from_values(cl.context.session.chat_settings, self.default)
        model = await self._pick(message, language)
        try:
            context = await build_messages(
                thread["steps"][: at + 1],
                thread["elements"],
                Question(CONTINUE_PROMPT),
                model=model,
                window=self.window_of(model),
                max_tokens=choices.max_tokens,
                system_prompt=choices.system_prompt,
                vision=self._settings.openai_vision,
                load_attachment=self._questions.stored,
            )
        except ModelError as error:
            await say_error(explain(error, language, model=model), model=model)
            return
        request = ModelRequest(context.messages, model, choices.temperature, choices.max_tokens)
        reply = Reply(self._layer, model, language, footer=self._settings.usage_footer, continued=answer)
        outcome = await self._stream(request, reply, message.id, thread["id"], language)
        if outcome.error is not None:
            # The answer keeps what it has, and its button.
            metrics.model_errors.labels(outcome.error.kind).inc()
            await say_error(explain(outcome.error, language, model=model), model=model)
        status = outcome.status if outcome.text else str((answer.get("metadata") or {}).get("status") or "cut")
        await self._offer(message.id, reply.message.id, status, language, again=False)

    async def _end(
        self, outcome: Outcome, reply: Reply, question_id: str, model: str, language: str, *, again: bool
    ) -> None:
        """Explain an error, and offer what can be done next."""
        session, error, for_id = cl.context.session, outcome.error, reply.message.id
        if error is not None:
            metrics.model_errors.labels(error.kind).inc()
            sentence = explain(error, language, model=model)
            # A button would ask the same model again: the page sends the picked model only with a new message.
            is_final = error.kind in NEED_ANOTHER_MODEL
            said = await say_error(sentence, model=model, is_final=is_final)
            for_id = reply.message.id if outcome.text else said.id
            if not is_final:
                await offer(self._turns, session, [try_again(question_id, language)], said.id)
        await self._offer(question_id, for_id, outcome.status, language, again=again)

    async def _offer(self, question_id: str, for_id: str, status: str, language: str, *, again: bool) -> None:
        """Show the buttons under the answer; `again`: there may be earlier versions of it."""
        session = cl.context.session
        buttons = [] if status == "error" else buttons_of(status, question_id, for_id, language)
        await offer(self._turns, session, buttons, for_id)
        if not again:
            return
        await self._layer.settled(session.thread_id)
        thread = await self._layer.get_thread(session.thread_id)
        earlier = await self._layer.message_versions(session.thread_id)
        versions = versions_of(thread["steps"] if thread else [], earlier).get(question_id)
        if versions is not None:
            for button in version_buttons(versions, versions.at, language):
                await button.send(for_id=versions.answer_id)

    async def _stream(
        self, request: ModelRequest, reply: Reply, question_id: str, thread_id: str, language: str
    ) -> Outcome:
        outcome = Outcome()
        request = replace(request, purpose=purpose_of_answer(reply, thread_id, language))
        self.replies[reply.message.id] = reply
        try:
            await stream_answer(self._model, request, reply, outcome=outcome, thread_id=thread_id)
        except asyncio.CancelledError:
            # Shielded, because a server that stops cancels a second time.
            ending = asyncio.create_task(self._end_early(reply, outcome, question_id, language))
            self.endings.add(ending)
            ending.add_done_callback(self.endings.discard)
            await asyncio.shield(ending)
            raise
        else:
            await reply.finish(outcome)
        finally:
            self.replies.pop(reply.message.id, None)
        return outcome

    async def _end_early(self, reply: Reply, outcome: Outcome, question_id: str, language: str) -> None:
        if not self.is_stopping:
            await remove_stop_notice()
        await reply.finish(outcome, stopping=self.is_stopping)
        if self.is_stopping:
            return
        if reply.message.content.strip():
            await self._offer(question_id, reply.message.id, "stopped", language, again=False)
        else:
            await say_stopped(question_id, language, self._turns, cl.context.session)

    async def _cut_what_followed(self, thread: dict[str, Any], message: cl.Message) -> list[dict[str, Any]]:
        """The steps before a question that is asked again. The steps after it are deleted."""
        steps: list[dict[str, Any]] = thread["steps"]
        position = next((at for at, step in enumerate(steps) if step["id"] == message.id), None)
        if position is None:
            return _before(thread, message)
        run = cl.context.current_run
        own = {run.id} if run else set()
        followed = [step for step in steps[position + 1 :] if step["id"] not in own]
        if followed:
            await self._layer.cut_thread(message.thread_id, message.id, keep=own)
            for step in followed:
                await cl.context.emitter.delete_step(step)  # type: ignore[arg-type]
        return steps[:position]

    async def _pick(self, message: cl.Message, language: str) -> str:
        model = chosen_model(message.modes, self.models)
        wanted = (message.modes or {}).get(MODEL, model)
        if wanted != model:
            await cl.context.emitter.send_toast(say("model_unknown", language, model=wanted, other=model), "info")
        return model

    async def _tell_address(self, thread_id: str, name: str) -> None:
        """Tell the page of a new thread that the thread is stored, so that it can go to the thread's address."""
        await self._layer.settled(thread_id)
        await _tell_name(thread_id, name)

    async def _title(self, thread_id: str, question: str, answer: str) -> None:
        """Replace the name that Chainlit took from the first question, unless the user has renamed the thread."""
        title = await make_title(
            self._model,
            question,
            answer,
            title_model=self._settings.title_model,
            purpose=purpose_of_session("title", thread_id),
        )
        if title is None:
            return
        try:
            if await self._layer.replace_thread_name(thread_id, question, title):
                await _tell_name(thread_id, title)
        except DataLayerError as error:
            logger.warning("a title was not stored: %s", error, extra={"thread_id": thread_id})


async def _tell_name(thread_id: str, name: str) -> None:
    """Tell the page the name of its thread. Chainlit's side bar then loads its list again."""
    emitter = cl.context.emitter
    await emitter.emit("first_interaction", {"interaction": name, "thread_id": thread_id})
    # For `public/page/thread.js`: the title of the tab, and the address on a phone, where the side bar is closed.
    await emitter.send_window_message({"threadkeeper": {"thread": thread_id, "name": name}})


def _before(thread: dict[str, Any], message: cl.Message) -> list[dict[str, Any]]:
    """The steps without the new question and its run. Ids decide, because clocks can differ."""
    run = cl.context.current_run
    own = {message.id, run.id if run else None}
    return [step for step in thread["steps"] if step["id"] not in own]
