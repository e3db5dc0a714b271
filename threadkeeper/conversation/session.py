"""The conversations of this process, session by session: begin, resume, answer, try again, stop."""

import asyncio
import gc
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import chainlit as cl
from chainlit.chat_context import chat_contexts
from chainlit.config import config
from chainlit.session import WebsocketSession, ws_sessions_id
from chainlit.user_session import user_sessions

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import DataLayerError
from datalayer.records.assistants import DEFAULT_ASSISTANT
from datalayer.records.review import StepVersion
from datalayer.turns.turns import ThreadChange
from threadkeeper.chat.assistants import Retriever
from threadkeeper.chat.attachments.reader import AttachmentRefused
from threadkeeper.chat.context.refusals import refused_ids
from threadkeeper.chat.model import Model, ModelError
from threadkeeper.chat.wording import say
from threadkeeper.conversation.answerers import offer_choices
from threadkeeper.conversation.assistants import (
    DEFAULT_CHAT,
    Answerer,
    answerer_of,
    profile_of_thread,
)
from threadkeeper.conversation.audience import ResumedPage
from threadkeeper.conversation.background import BackgroundTasks
from threadkeeper.conversation.button_questions import put_question
from threadkeeper.conversation.chat_settings import take_settings
from threadkeeper.conversation.claims import Claims
from threadkeeper.conversation.commands import offer_commands, prompts_of_user, put_prompt_before
from threadkeeper.conversation.continuing import question_ids, to_continue
from threadkeeper.conversation.language import language_of_session
from threadkeeper.conversation.notices import notice
from threadkeeper.conversation.offers import (
    offer_for_thread,
    remove_offers,
    renew_version_buttons,
    say_error_with_button,
    show_earlier,
)
from threadkeeper.conversation.opening import open_again, open_chat
from threadkeeper.conversation.reply import mark_unfinished, remove_stop_notice
from threadkeeper.conversation.shutdown import end_answers
from threadkeeper.conversation.stored_messages import take_stored
from threadkeeper.conversation.thought_step import show_thoughts
from threadkeeper.conversation.turn import Answering
from threadkeeper.conversation.turn_order import Turns
from threadkeeper.conversation.usage_footer import show_footers
from threadkeeper.conversation.versions import Version, versions_of
from threadkeeper.conversation.watching import Watch, change_of
from threadkeeper.offered_models import OfferedModels
from threadkeeper.pricing.rates import load_published
from threadkeeper.settings.settings import Settings
from threadkeeper.tracing import hooks

logger = logging.getLogger(__name__)


class Conversations:
    """Every conversation of this process; the state of one of them is in its Chainlit session.

    `background` runs what no conversation waits for; `watch` shows what other processes store.
    """

    def __init__(
        self,
        layer: ChainlitLayer,
        model: Model,
        settings: Settings,
        retriever: Retriever | None = None,
        offered: OfferedModels | None = None,
    ) -> None:
        self._layer = layer
        self._model = model
        self._settings = settings
        self._turns = Turns(Claims(layer))
        self._is_warm = False
        self.background = BackgroundTasks()
        self._answering = Answering(
            layer, model, settings, self._turns, self.background, retriever=retriever, offered=offered
        )
        self.watch = Watch(layer, self._turns, self.mark, has_footers=settings.usage_footer)

    async def _warm_up(self) -> None:
        """Load what the first question needs, and exclude all loaded objects from garbage collection.

        Runs once, when the first chat is opened: a server that nobody uses needs none of it. The objects live as long
        as the process; scanning them again and again would delay every answer by 0.2 s.
        """
        if self._is_warm or self._model.demo:
            # The demo has neither a window nor a price, so their table is not loaded.
            return
        self._is_warm = True
        try:
            await self._model.load()
        except ModelError as error:
            self._is_warm = False
            logger.error("the model is not ready: %s", error)
            return
        for model in {*self._answering.offered.base, self._settings.title_model}:
            await asyncio.to_thread(self._answering.window_of, model)
        await asyncio.to_thread(load_published)
        # Garbage that is frozen is never freed.
        gc.collect()
        gc.freeze()

    async def begin(self) -> None:
        """Offer the settings and the models of a new conversation, and show the first message of its assistant."""
        self.background.start(self._warm_up())
        session, language = cl.context.session, language_of_session()
        if session.chat_profile == DEFAULT_ASSISTANT:
            # Stored as before there were assistants.
            session.chat_profile = None
        if session.thread_id_to_resume:
            # The thread does not exist for this user, so the conversation gets a new one.
            session.thread_id, session.thread_id_to_resume = str(uuid.uuid4()), None
        for ended in chat_contexts.keys() - ws_sessions_id.keys():
            # Chainlit keeps the messages of every session that ever existed.
            del chat_contexts[ended]
        answerer = await self._answerer_of(session)
        await open_chat(self._layer, self._turns, answerer, self._answering.default, language)

    async def open_again(self, read_seconds: float) -> None:
        """Send what a new conversation begins with to a page that may not have read it, as after `read_seconds`."""
        await open_again(self._turns, self._answering.default, language_of_session(), read_seconds=read_seconds)

    async def _answerer_of(self, session: Any) -> Answerer:
        """Who answers in a conversation that is opened."""
        try:
            return await answerer_of(self._layer, self._answering.offered, session.chat_profile)
        except DataLayerError as error:
            # The next turn looks again, and reports to the user that the store is unavailable.
            logger.error("the assistant or the models of a conversation cannot be read: %s", error)
            return DEFAULT_CHAT

    async def resume(self, thread: dict[str, Any]) -> None:
        """Restore a stored thread: settings, model, an answer in progress, marks of cut answers, usage footers.

        Args:
            thread: the ThreadDict that Chainlit shows; its steps are changed in place.
        """
        self.background.start(self._warm_up())
        session, language = cl.context.session, language_of_session()
        change = change_of(thread, is_claimed=await self.watch.is_written_elsewhere(thread))
        # The session may have begun without its thread (threadkeeper/conversation/resuming.py).
        session.thread_id = thread["id"]
        # At its end the session writes its metadata back, which must not share the thread again.
        for key in ("is_shared", "shared_at"):
            user_sessions.get(session.id, {}).pop(key, None)
        metadata = thread.get("metadata") or {}
        questions = [step for step in thread["steps"] if step["type"] == "user_message"]
        turns = self._turns.of(session)
        is_again, turns.resumed = turns.resumed, True
        turns.asked.update(step["id"] for step in questions)
        turns.refused = refused_ids(thread["steps"])
        turns.has_profiles = turns.has_profiles or bool(session.chat_profile)
        session.chat_profile = profile_of_thread(thread)
        if turns.has_profiles:
            # The page shows the profile that the thread names, and otherwise keeps the one of another thread.
            thread["metadata"] = {**metadata, "chat_profile": session.chat_profile or DEFAULT_ASSISTANT}
        answerer = turns.answerer = await self._answerer_of(session)
        modes = questions[-1].get("modes") if questions else None
        await offer_choices(answerer, self._answering.default, metadata.get("chat_settings") or {}, modes, language)
        turns.prompts = await prompts_of_user(self._layer)
        await offer_commands(turns.prompts, language, begins=False)
        thread["steps"] += [dict(notice(one).to_dict()) for one in answerer.notices(modes, language)]
        if self._settings.usage_footer:
            await show_footers(thread["steps"], language, replace=is_again)
        if not self._turns.audiences_of(thread["id"]) and not change.is_claimed:
            await offer_for_thread(self._turns, session, thread, language, is_again=is_again)
        for versions in versions_of(thread["steps"], await self._earlier(thread["id"])).values():
            await renew_version_buttons(versions, versions.at, language)
        page = cast(WebsocketSession, session)
        cl.context.emitter = ResumedPage(page, lambda shown: self._join(page, shown, language, change))

    def _join(self, page: WebsocketSession, thread: dict[str, Any], language: str, change: ThreadChange) -> bool:
        """Let a page that resumes a thread take part in its running turns; returns whether there are any."""
        is_cut = self.mark(thread, language, is_alive=change.is_claimed)
        self.watch.note(page, thread, change, is_cut=is_cut)
        audiences, tasks = self._turns.audiences_of(thread["id"]), self._turns.tasks_of(thread["id"])
        for audience in audiences:
            audience.join(page)
        if tasks:
            page.current_task = tasks[-1]
            self._turns.of(page).running.extend(tasks)
        return bool(audiences)

    def mark(self, thread: dict[str, Any], language: str, *, is_alive: bool = False) -> bool:
        """Update a ThreadDict that will be shown: mark cut answers, put the text so far into one in progress, and
        prepare thoughts. `is_alive`: another process writes an answer now. Gives whether an answer is cut."""
        replies = [one for one in self._answering.replies.values() if one.message.thread_id == thread["id"]]
        for reply in replies:
            reply.put_into(thread["steps"])
        alive = {step_id for reply in replies for step_id in reply.step_ids}
        if is_alive:
            alive.update(step["id"] for step in thread["steps"])
        is_cut = mark_unfinished(thread["steps"], alive, language)
        show_thoughts(thread["steps"], language)
        return is_cut

    async def answer(self, message: cl.Message) -> None:
        """Answer a question. Every failure becomes a sentence on the page and a line in the log."""
        language, session = language_of_session(), cl.context.session
        await put_prompt_before(message, self._turns.of(session).prompts)
        with self._turns.audience(session), hooks.answer(session.thread_id):
            await self._run(
                message, language, session, lambda again: self._answering.answer(message, language, again=again)
            )

    async def _run(
        self, message: cl.Message, language: str, session: Any, work: Callable[[bool], Awaitable[None]]
    ) -> None:
        """Run one turn. `work` is told whether its question is asked again."""
        turns = self._turns.of(session)

        def asked() -> str:
            return turns.answerer.model(message.modes)

        try:
            async with self._turns.turn(session, message.id) as again:
                await remove_offers(turns)
                await work(again)
        except AttachmentRefused as refusal:
            await self._answering.failures.say_file(
                message, refusal, language, model=turns.answerer.model(message.modes)
            )
        except DataLayerError as error:
            hooks.note_failure("storage")
            logger.error("a turn failed: %s", error, extra={"thread_id": message.thread_id, "step_id": message.id})
            sentence = say("question_not_answered", language)
            await say_error_with_button(
                sentence, message.id, language, self._turns, session, model=turns.answerer.model(message.modes)
            )
        except Exception:
            hooks.note_failure("unforeseen")
            reference = uuid.uuid4().hex[:8]
            logger.exception(
                "a turn failed, reference %s", reference, extra={"thread_id": message.thread_id, "step_id": message.id}
            )
            sentence = say("something_failed", language, reference=reference)
            await say_error_with_button(
                sentence, message.id, language, self._turns, session, model=turns.answerer.model(message.modes)
            )
        # The answer did not wait until its thread was stored; the end of the turn does.
        await self._layer.settled(session.thread_id)

    @property
    def parts(self) -> tuple[Turns, Answering]:
        """What also answers without a page (`programs`)."""
        return self._turns, self._answering

    async def retry(self, question_id: object, *, restored: Version | None = None) -> None:
        """Ask the last question of this conversation again. Its answer is removed, and stays as a version.

        `restored`: an earlier version, which is put back instead.
        """
        session, language = cl.context.session, language_of_session()
        if self._turns.running(session) or config.code.on_message is None:
            return
        thread = await self._layer.get_thread(session.thread_id) or {"steps": []}
        messages = take_stored(session, thread)
        position = next((at for at, one in enumerate(messages) if one.id == question_id), None)
        if position is None:
            await cl.context.emitter.send_toast(say("nothing_to_retry", language), "error")
            return
        if question_id in question_ids(thread)[:-1]:
            await cl.context.emitter.send_toast(say("retry_too_late", language), "info")
            return
        question = messages[position]
        if restored is not None and question.content != restored.question:
            question.content = restored.question
            await question.update()
        for later in messages[position + 1 :]:
            await later.remove()
        self._turns.of(session).restored = restored
        self._start(config.code.on_message, question)

    async def ask(self, prompt: object) -> None:
        """Ask the text of a button as if the user had typed it."""
        session = cl.context.session
        if self._turns.running(session) or config.code.on_message is None:
            return
        if not isinstance(prompt, str) or not prompt.strip() or session.user is None:
            return
        turns = self._turns.of(session)
        message = await put_question(self._layer, prompt, begins=not turns.asked and not turns.resumed)
        self._start(config.code.on_message, message)

    async def continue_answer(self, answer_id: object) -> None:
        """Let the model continue an incomplete answer, if it is the last message of this conversation."""
        session, language = cl.context.session, language_of_session()
        if self._turns.running(session):
            return
        thread = await self._layer.get_thread(session.thread_id) or {"steps": []}
        self.mark(thread, language)
        found = to_continue(thread, answer_id)
        own = [] if found is None else take_stored(session, thread)
        question = next((one for one in own if found and one.id == found.question["id"]), None)
        if found is None or question is None:
            await cl.context.emitter.send_toast(say("retry_too_late", language), "info")
            return
        answer = found.answer
        # The error that explained why the answer ends is done with.
        errors = {step["id"] for step in found.errors}
        for message in [one for one in own if one.id in errors]:
            await message.remove()

        async def proceed(message: cl.Message) -> None:
            await self.proceed(message, thread, answer, language)

        self._start(proceed, question)

    async def proceed(
        self, message: cl.Message, thread: dict[str, Any], answer: dict[str, Any], language: str
    ) -> str | None:
        """Continue an incomplete answer to a question. Gives the kind of the error without which it would go on."""
        session, failed = cl.context.session, None

        async def work(_again: bool) -> None:
            nonlocal failed
            failed = await self._answering.continue_answer(message, thread, answer, language)

        with self._turns.audience(session), hooks.answer(session.thread_id):
            await self._run(message, language, session, work)
        return failed

    async def show_version(self, question_id: object, to: object) -> None:
        """Show another version of a question and its answer. In the last turn, it replaces the current one."""
        session, language = cl.context.session, language_of_session()
        if self._turns.running(session):
            return
        thread = await self._layer.get_thread(session.thread_id) or {"steps": []}
        versions = versions_of(thread["steps"], await self._earlier(session.thread_id)).get(str(question_id))
        if versions is None or not isinstance(to, int) or not 0 <= to < len(versions.all):
            await cl.context.emitter.send_toast(say("version_gone", language), "info")
            return
        if question_id != question_ids(thread)[-1]:
            await show_earlier(thread["steps"], versions, to, language)
        elif to != versions.at:
            await self.retry(question_id, restored=versions.all[to])

    def _start(self, handler: Any, message: cl.Message) -> None:
        task = asyncio.create_task(_as_a_turn(handler, message))
        self._turns.of(cl.context.session).running.append(task)

    async def _earlier(self, thread_id: str) -> Sequence[StepVersion]:
        """Earlier versions of messages; none if they cannot be read now: the thread is shown without them."""
        try:
            return await self._layer.message_versions(thread_id)
        except DataLayerError as error:
            logger.warning("earlier versions cannot be shown: %s", error, extra={"thread_id": thread_id})
            return ()

    async def take_settings(self, values: dict[str, Any]) -> None:
        """Store the values of the settings dialog."""
        await take_settings(self._layer, values, self._answering.default, language_of_session())

    async def stopped(self) -> None:
        """The user pressed Stop: cancel every turn of the session, and remove Chainlit's notice."""
        tasks = self._turns.running(cl.context.session)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await remove_stop_notice()

    async def stop(self) -> None:
        """The server stops: store the text so far of every answer in progress, and close the model."""
        self.watch.stop()
        await end_answers(self._turns, self._answering, self.background, self._model)


async def _as_a_turn(handler: Any, message: cl.Message) -> None:
    await cl.context.emitter.task_start()
    try:
        await handler(message)
    finally:
        await cl.context.emitter.task_end()
