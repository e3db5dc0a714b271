"""One turn of a conversation: the context is built from the store, the answer is streamed, stored and finished.

An edit or a retry first deletes the messages after the question.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import chainlit as cl

from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.chat.answer import Outcome, stream_answer
from threadkeeper.chat.assistants import Retriever
from threadkeeper.chat.context.asking import Asking, Steps
from threadkeeper.chat.context.history import DEFAULT_SYSTEM_PROMPT, Context, Question, build_messages
from threadkeeper.chat.context.reductions import Reduction
from threadkeeper.chat.context.refusals import FAILED, REFUSED, refused_ids
from threadkeeper.chat.context.tokens import window_of
from threadkeeper.chat.model import Model, ModelError, ModelRequest
from threadkeeper.chat.titles import first_name
from threadkeeper.chat.wording import explain, say
from threadkeeper.conversation.answerers import Answerers, Prepared
from threadkeeper.conversation.assistants import Answerer
from threadkeeper.conversation.background import BackgroundTasks
from threadkeeper.conversation.chat_settings import Choices
from threadkeeper.conversation.commands import begin_thread
from threadkeeper.conversation.cutting import cut_what_followed, steps_before
from threadkeeper.conversation.failures import Failures
from threadkeeper.conversation.left_out import LeftOutNotices
from threadkeeper.conversation.notices import last_notice
from threadkeeper.conversation.offers import buttons_of, offer, prompt_buttons, renew_version_buttons, say_stopped
from threadkeeper.conversation.passages import facts_of_elements
from threadkeeper.conversation.question import QuestionReader, say_notices
from threadkeeper.conversation.reply import (
    LEFT_OUT,
    Reply,
    asking_program,
    purpose_of_answer,
    purpose_of_session,
    remove_stop_notice,
    say_error,
    say_unknown,
)
from threadkeeper.conversation.restoring import put_back
from threadkeeper.conversation.thread_names import Untitled, give_title, may_be_titled, tell_name
from threadkeeper.conversation.turn_order import Turns
from threadkeeper.conversation.versions import Version, versions_of
from threadkeeper.offered_models import OfferedModels
from threadkeeper.settings.settings import Settings

logger = logging.getLogger(__name__)


class Answering:
    """Answers the questions of every conversation of this process.

    Attributes:
        offered: the models on offer; by default those of the settings.
        answerers: find the assistant that answers a turn.
        default: the settings of a new chat.
        questions: reads questions with their files.
        replies: the answers that are being written, by the id of their message.
        failures: tells users of failed questions, and remembers them.
        endings: tasks that store the end of a cancelled answer.
        is_stopping: set when the server stops, so that a cut answer is not marked as stopped by its user.
    """

    def __init__(
        self,
        layer: ChainlitLayer,
        model: Model,
        settings: Settings,
        turns: Turns,
        background: BackgroundTasks,
        *,
        retriever: Retriever | None = None,
        offered: OfferedModels | None = None,
    ) -> None:
        self._layer = layer
        self._model = model
        self._settings = settings
        self._turns = turns
        self._background = background
        self.questions = QuestionReader(layer, settings)
        self.offered = offered or OfferedModels(("demo",) if model.demo else settings.openai_models)
        prompt = settings.resolved_system_prompt(DEFAULT_SYSTEM_PROMPT)
        self.default = Choices(prompt, settings.temperature, settings.max_tokens)
        self.answerers = Answerers(layer, turns, offered=self.offered, default_prompt=prompt, retriever=retriever)
        self.failures = Failures(layer, turns)
        self.replies: dict[str, Reply] = {}
        self.endings: set[asyncio.Task[None]] = set()
        self.is_stopping = False

    async def answer(self, message: cl.Message, language: str, *, again: bool) -> None:
        """Build the context of a question, stream the answer, and start the title of a new thread.

        Args:
            again: the question was asked before (an edit or a retry): the messages after it are deleted first.

        Raises:
            AttachmentRefused: a file of the question cannot be taken.
            DataLayerError: the thread cannot be read or cut.
        """
        session, thread_id = cl.context.session, cl.context.session.thread_id
        turns = self._turns.of(session)
        begins = not turns.resumed and turns.asked == {message.id} and not again
        if begins:
            await begin_thread(self._layer, message, thread_id, turns.prompts, language)
        # A new thread is not in the store yet, and the answer does not wait until it is.
        thread = None if begins else await self._layer.get_thread(thread_id)
        if thread is None:
            if len(turns.asked) > 1:
                await say_error(say("thread_deleted", language))
                return
            thread = {"steps": [*turns.opened_with], "elements": [], "name": message.content}
            self._background.start(self._tell_address(thread_id, message.content))
        answerer = await self.answerers.of_turn(session, message.modes, language)
        steps = await cut_what_followed(self._layer, thread, message) if again else steps_before(thread, message)
        if again and (version := turns.restored) is not None:
            turns.restored = None
            await self._restore(version, thread, message, answerer, language)
            return
        if again or FAILED in (message.metadata or {}):
            await self.failures.renew(message, thread["elements"], language)
        question = await self.questions.read(thread, message)
        prepared = await self._prepare(answerer, question, steps, message, language)
        if prepared is None:
            return
        if prepared.idk is not None:
            await say_notices(question, language)
            answer_id = await say_unknown(self._layer, answerer, prepared.idk, language)
            model = answerer.model(message.modes)
            await self._offer(message.id, answer_id, "complete", language, again=again, model=model)
            self._entitle(thread, steps, message, answer_id, prepared.idk)
            return
        choices = prepared.choices
        model = await self.answerers.pick(answerer, message, language)
        has_files = bool(question.attachments)
        asking = Asking(
            self._builder(prepared.question, thread["elements"], choices, model),
            steps,
            model=model,
            question_id=message.id,
            window=self.window_of(model),
        )
        try:
            await asking.begin()
        except ModelError as error:
            logger.warning("no answer: %s", error, extra={"thread_id": thread_id})
            await self.failures.say(message, error, language, model=model, has_files=has_files, is_retried=False)
            return
        await say_notices(question, language)
        notices = LeftOutNotices(steps, model, language)
        await notices.say(asking.context, asking.reduction)
        reply = Reply(
            self._layer,
            model,
            language,
            footer=self._settings.usage_footer,
            answerer=answerer,
            passages=prepared.passages,
        )
        outcome = await self._stream(asking, choices, reply, message.id, language)
        if asking.has_changed and outcome.has_content:
            await notices.say(asking.context, asking.reduction)
        await self._end(outcome, reply, message, model, language, again=again, has_files=has_files)
        if outcome.has_content:
            self._entitle(thread, steps, message, reply.message.id, outcome.text)

    async def _restore(
        self, version: Version, thread: dict[str, Any], message: cl.Message, answerer: Answerer, language: str
    ) -> None:
        """Put an earlier answer back in place of a new one."""
        model, footer = "demo" if self._model.demo else None, self._settings.usage_footer
        facts = facts_of_elements(thread["elements"], version.answer_id)
        restored = await put_back(self._layer, version, facts, language, model=model, footer=footer)
        await self.failures.forget(message)
        status, model = str((restored.metadata or {})["status"]), answerer.model(message.modes)
        await self._offer(message.id, restored.id, status, language, again=True, model=model)

    async def _prepare(
        self, answerer: Answerer, question: Question, steps: Steps, message: cl.Message, language: str
    ) -> Prepared | None:
        """The question as its assistant asks it; None if its passages cannot be searched, which the user is told."""
        session = cl.context.session
        own = Choices.from_values(session.chat_settings, self.default)
        model = answerer.model(message.modes)
        try:
            return await self.answerers.prepare(answerer, question, steps, own, language)
        except ModelError as error:
            logger.warning("no passages: %s", error, extra={"thread_id": session.thread_id, "step_id": message.id})
            await self.failures.say(message, error, language, model=model, has_files=bool(question.attachments))
            return None
        except asyncio.CancelledError:
            if not self.is_stopping:
                await asyncio.shield(say_stopped(message.id, language, self._turns, session, model=model))
            raise

    def _entitle(
        self, thread: dict[str, Any], steps: list[dict[str, Any]], message: cl.Message, answer_id: str, answer: str
    ) -> None:
        """Start the title of a thread that has none: it is named after its first question until then.

        The title model does not get a refused question.
        """
        asked = [step for step in steps if step["type"] == "user_message"]
        name = first_name(asked[0]["output"] if asked else message.content)
        if first_name(thread["name"] or "") == name and may_be_titled(self._settings.title_model):
            refused = refused_ids(steps)
            this = {"id": message.id, "output": message.content}
            first = next((step for step in asked if step["id"] not in refused), this)
            thread_id = cl.context.session.thread_id
            purpose = purpose_of_session("title", thread_id, self._turns.of(cl.context.session).answerer)
            untitled = Untitled(thread_id, thread["name"], first, answer_id, answer)
            self._background.start(give_title(self._layer, self._model, self._settings.title_model, purpose, untitled))

    def _builder(
        self, question: Question, elements: list[dict[str, Any]], choices: Choices, model: str
    ) -> Callable[[Steps, Reduction], Awaitable[Context]]:
        """Builds the context of a question from earlier steps."""

        async def build(steps: Steps, reduction: Reduction) -> Context:
            return await build_messages(
                steps,
                elements,
                question,
                model=model,
                window=self.window_of(model),
                max_tokens=choices.max_tokens,
                system_prompt=choices.system_prompt,
                vision=self._settings.openai_vision,
                reduction=reduction,
                load_attachment=self.questions.stored,
            )

        return build

    def window_of(self, model: str) -> int:
        """The tokens that question and answer may have together. OPENAI_CONTEXT_TOKENS replaces the known window."""
        return window_of(model, self._settings.openai_context_tokens, demo=self._model.demo)

    async def continue_answer(
        self, message: cl.Message, thread: dict[str, Any], answer: dict[str, Any], language: str
    ) -> str | None:
        """Let the model append to an incomplete answer, the last message of the thread. Gives the kind of an error."""
        at = next(position for position, step in enumerate(thread["steps"]) if step["id"] == answer["id"])
        answerer = await self.answerers.of_turn(cl.context.session, message.modes, language)
        own = Choices.from_values(cl.context.session.chat_settings, self.default)
        earlier = [step for step in thread["steps"][:at] if step["id"] != message.id]
        try:
            prepared = await self.answerers.prepare_to_continue(
                answerer, message.content, earlier, answer, own, language=language
            )
        except ModelError as error:
            logger.warning("no passages: %s", error, extra={"thread_id": thread["id"], "step_id": answer["id"]})
            model = answerer.model(message.modes)
            await say_error(explain(error, language, model=model), model=model)
            return error.kind
        if prepared.idk is not None:
            # The answer stays as it is: what it has was found in passages.
            await last_notice(prepared.idk).send()
            return None
        choices, passages = prepared.choices, prepared.passages
        model = await self.answerers.pick(answerer, message, language)
        asking = Asking(
            self._builder(prepared.question, thread["elements"], choices, model),
            thread["steps"][: at + 1],
            model=model,
            question_id=message.id,
            window=self.window_of(model),
        )
        try:
            await asking.begin()
        except ModelError as error:
            await say_error(explain(error, language, model=model), model=model)
            return error.kind
        footer = self._settings.usage_footer
        reply = Reply(
            self._layer, model, language, footer=footer, continued=answer, answerer=answerer, passages=passages
        )
        outcome = await self._stream(asking, choices, reply, message.id, language, reduces=False)
        if outcome.error is not None:
            # The answer keeps what it has, and its button.
            self.failures.count(outcome.error)
            await say_error(explain(outcome.error, language, model=model), model=model)
        status = outcome.status if outcome.text else str((answer.get("metadata") or {}).get("status") or "cut")
        await self._offer(message.id, reply.message.id, status, language, again=False, model=model)
        return outcome.error.kind if outcome.error else None

    async def _end(
        self,
        outcome: Outcome,
        reply: Reply,
        message: cl.Message,
        model: str,
        language: str,
        *,
        again: bool,
        has_files: bool,
    ) -> None:
        """Explain an error, and offer what can be done next."""
        error, for_id, status = outcome.error, reply.message.id, outcome.status
        if error is not None:
            has_text = outcome.has_content
            said = await self.failures.say(
                message, error, language, model=model, has_files=has_files, has_text=has_text
            )
            for_id = reply.message.id if has_text else said.id
            if error.kind in REFUSED:
                # The model does not get a refused question again, so it cannot continue the answer.
                status = "filtered" if has_text else "error"
        await self._offer(message.id, for_id, status, language, again=again, model=model)

    async def _offer(self, question: str, for_id: str, status: str, language: str, *, again: bool, model: str) -> None:
        """Show the buttons under the answer to a question; `again`: there may be earlier versions of it."""
        session = cl.context.session
        buttons = [] if status == "error" else buttons_of(status, question, for_id, language, model=model)
        assistant = self._turns.of(session).answerer.assistant
        if assistant is not None and status == "complete":
            buttons += prompt_buttons(assistant.settings.tips, for_id, language)
        await offer(self._turns, session, buttons, for_id)
        program = asking_program.get()
        if not again and (program is None or not program.is_stored):
            return
        await self._layer.settled(session.thread_id)
        thread = await self._layer.get_thread(session.thread_id)
        earlier = await self._layer.message_versions(session.thread_id)
        versions = versions_of(thread["steps"] if thread else [], earlier).get(question)
        if versions is not None:
            await renew_version_buttons(versions, versions.at, language)

    async def _stream(
        self,
        asking: Asking,
        choices: Choices,
        reply: Reply,
        question_id: str,
        language: str,
        *,
        reduces: bool = True,
    ) -> Outcome:
        """Stream the answer. `reduces`: if the server refuses the thread, ask again with less of it."""
        outcome, thread_id = Outcome(), cl.context.session.thread_id
        purpose = purpose_of_answer(reply, thread_id, language)
        wait_until = time.perf_counter() + self._settings.openai_timeout_seconds
        self.replies[reply.message.id] = reply
        try:
            while True:
                reply.note(asking.facts())
                request = ModelRequest(
                    asking.context.messages,
                    asking.model,
                    choices.temperature,
                    choices.max_tokens,
                    purpose=purpose,
                    wait_until=wait_until,
                    sampling=choices.sampling,
                    demo_answer=reply.passages.demo_answer,
                )
                await stream_answer(self._model, request, reply, outcome=outcome, thread_id=thread_id)
                if request.left_out and reply.answerer.assistant is not None:
                    reply.note({LEFT_OUT: request.left_out})
                # A thought is on the page already, so the answer has begun.
                has_begun = outcome.has_content or bool(outcome.thought)
                if not reduces or outcome.error is None or has_begun or not await asking.reduce(outcome.error):
                    break
                outcome = Outcome()
        except asyncio.CancelledError:
            # Shielded, because a server that stops cancels a second time.
            ending = asyncio.create_task(self._end_early(reply, outcome, question_id, language, asking.model))
            self.endings.add(ending)
            ending.add_done_callback(self.endings.discard)
            await asyncio.shield(ending)
            raise
        else:
            await reply.finish(outcome)
        finally:
            self.replies.pop(reply.message.id, None)
        return outcome

    async def _end_early(self, reply: Reply, outcome: Outcome, question_id: str, language: str, model: str) -> None:
        if not self.is_stopping:
            await remove_stop_notice()
        await reply.finish(outcome, stopping=self.is_stopping)
        if self.is_stopping:
            return
        if reply.message.content.strip():
            await self._offer(question_id, reply.message.id, "stopped", language, again=False, model=model)
        else:
            await say_stopped(question_id, language, self._turns, cl.context.session, model=model)

    async def _tell_address(self, thread_id: str, name: str) -> None:
        """Tell the page of a new thread that the thread is stored, so that it can go to the thread's address."""
        await self._layer.settled(thread_id)
        await tell_name(thread_id, name)
