"""The turns of a conversation on Chainlit's page: a question comes in, the context is built from the store, the
answer is streamed, kept and finished; an edit or a second try cuts what followed; a resumed thread is put back.
"""

import asyncio
import contextlib
import gc
import logging
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import chainlit as cl
from chainlit.chat_context import chat_context, chat_contexts
from chainlit.config import config
from chainlit.session import BaseSession, WebsocketSession, ws_sessions_id
from chainlit.user_session import user_sessions

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import DataLayerError
from threadkeeper import metrics
from threadkeeper.chat.attachment_cache import AttachmentCache
from threadkeeper.chat.attachments import Attachment, AttachmentReader, AttachmentRefused, Picture
from threadkeeper.chat.history import DEFAULT_SYSTEM_PROMPT, NOTICE_STATUS, Question, build_messages
from threadkeeper.chat.llm import NEED_ANOTHER_MODEL, Model, ModelError, ModelRequest
from threadkeeper.chat.pricing import load_published
from threadkeeper.chat.titles import make_title
from threadkeeper.chat.tokens import DEFAULT_WINDOW, context_window
from threadkeeper.chat.turn import Outcome, stream_answer
from threadkeeper.chat.words import explain, say
from threadkeeper.conversation.controls import MODEL, Choices, chosen_model, offer_models, offer_settings
from threadkeeper.conversation.footer import show_footers
from threadkeeper.conversation.purpose import purpose_of_answer, purpose_of_session
from threadkeeper.conversation.reply import FINAL, Reply, mark_unfinished, remove_stop_notice, say_error, try_again
from threadkeeper.conversation.turns import SessionTurns, Turns
from threadkeeper.settings import Settings

logger = logging.getLogger(__name__)

_OLDER_LEFT_OUT = "older_left_out"
_STOP_SECONDS = 3.0


class Conversations:
    """Every conversation of this process; what belongs to one of them is in its Chainlit session."""

    def __init__(self, layer: ChainlitLayer, model: Model, settings: Settings) -> None:
        self._layer = layer
        self._model = model
        self._settings = settings
        self._models = ("demo",) if model.demo else settings.openai_models
        self._default = Choices(
            settings.system_prompt or DEFAULT_SYSTEM_PROMPT, settings.temperature, settings.max_tokens
        )
        self._reader = AttachmentReader(
            kinds=settings.attachment_kinds,
            max_files=settings.attachment_max_files,
            max_total_megabytes=settings.attachment_max_total_megabytes,
            max_megabytes=settings.attachment_max_megabytes,
            max_characters=settings.attachment_max_characters,
            max_pdf_pages=settings.attachment_max_pdf_pages,
        )
        self._stored = AttachmentCache(self._read_stored)
        self._answering: dict[str, Reply] = {}
        self._turns = Turns()
        self._beside: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._has_tables = self._is_warm = False

    async def warm_up(self) -> None:
        """Take all that is loaded out of garbage collection.

        It is there for good: to look through it again and again holds up every answer for a fifth of a second.
        """
        gc.collect()
        gc.freeze()

    async def _load_tables(self) -> None:
        """Load the table of windows and prices for the first question, in a thread: it takes a tenth of a second."""
        if not self._has_tables and not self._model.demo:
            await asyncio.to_thread(load_published)
        self._has_tables = True

    async def begin(self) -> None:
        """Offer the settings and the models of a new conversation."""
        session, language = cl.context.session, language_of_session()
        if session.thread_id_to_resume:
            # Asked for a thread that is not there for this user: what is said now goes into a thread of its own.
            session.thread_id, session.thread_id_to_resume = str(uuid.uuid4()), None
        for gone in chat_contexts.keys() - ws_sessions_id.keys():
            # Chainlit keeps the messages of every session that there ever was.
            del chat_contexts[gone]
        await offer_settings({}, self._default, language)
        await offer_models(self._models, self._models[0], language)

    async def resume(self, thread: dict[str, Any]) -> None:
        """Put a stored conversation back: its settings, its model, an answer under way, the marks of cut ones."""
        session, language = cl.context.session, language_of_session()
        # What the session writes back when it ends must not share again what was unshared meanwhile.
        for key in ("is_shared", "shared_at"):
            user_sessions.get(session.id, {}).pop(key, None)
        metadata = thread.get("metadata") or {}
        questions = [step for step in thread["steps"] if step["type"] == "user_message"]
        turns = self._turns.of(session)
        turns.resumed = True
        turns.asked.update(step["id"] for step in questions)
        picked = chosen_model(questions[-1].get("modes") if questions else None, self._models)
        await offer_settings(metadata.get("chat_settings") or {}, self._default, language)
        await offer_models(self._models, picked, language)
        await self._offer_second_try(thread["steps"], turns)
        self.mark(thread, language)
        for reply in self._answering.values():
            if reply.message.thread_id == thread["id"]:
                session.current_task = reply.task
                turns.running.append(reply.task)
                await reply.watch(cl.context.emitter)
        if self._settings.usage_footer:
            await show_footers(thread["steps"], language)

    def mark(self, thread: dict[str, Any], language: str) -> None:
        """Say in a thread that is about to be shown which answers were cut off, and how far one under way has come."""
        for step in thread["steps"]:
            if (reply := self._answering.get(step["id"])) is not None:
                step["output"] = reply.message.content
        mark_unfinished(thread["steps"], self._answering.keys(), language)

    async def answer(self, message: cl.Message) -> None:
        """Answer a question, and tell the user in words where that fails."""
        language, session = language_of_session(), cl.context.session
        try:
            async with self._turns.turn(session, message.id) as again:
                await self._remove_button(session)
                await self._answer(message, language, again=again)
        except AttachmentRefused as refusal:
            await say_error(refusal.notice.say(language))
        except DataLayerError as error:
            logger.error("a turn failed: %s", error, extra={"thread_id": message.thread_id, "step_id": message.id})
            await self._say_error(say("not_saved", language), message.id, language)
        except Exception:
            reference = uuid.uuid4().hex[:8]
            logger.exception(
                "a turn failed, reference %s", reference, extra={"thread_id": message.thread_id, "step_id": message.id}
            )
            await self._say_error(say("something_failed", language, reference=reference), message.id, language)
        # When a turn is over its thread is there, although the answer did not wait for that.
        await self._layer.settled(session.thread_id)

    async def retry(self, question_id: object) -> None:
        """Ask the last question of this conversation again; the answer that failed is cut."""
        session, language = cl.context.session, language_of_session()
        if self._turns.running(session) or config.code.on_message is None:
            return
        messages = chat_context.get()
        position = next((at for at, one in enumerate(messages) if one.id == question_id), None)
        if position is None:
            await cl.context.emitter.send_toast(say("nothing_to_retry", language), "error")
            return
        thread = await self._layer.get_thread(session.thread_id) or {"steps": []}
        ids = [step["id"] for step in thread["steps"] if step["type"] == "user_message"]
        if question_id in ids[:-1]:
            await cl.context.emitter.send_toast(say("retry_too_late", language), "info")
            return
        for later in messages[position + 1 :]:
            await later.remove()
        self._turns.of(session).running.append(
            asyncio.create_task(_as_a_turn(config.code.on_message, messages[position]))
        )

    async def stopped(self) -> None:
        """The user pressed Stop: end every turn of the session, and take Chainlit's notice of it away."""
        tasks = self._turns.running(cl.context.session)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await remove_stop_notice()

    async def stop(self) -> None:
        """The server stops: end the answers under way, so that each is kept as far as it came."""
        self._stopping = True
        tasks = [*self._turns.everything(), *self._beside]
        for task in tasks:
            task.cancel()
        # What is stored late is stored by the data layer when it closes; a database that is away must not hold this up.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await asyncio.gather(*tasks, return_exceptions=True)
                await asyncio.gather(*self._endings, return_exceptions=True)
        await self._model.close()

    # A turn

    async def _answer(self, message: cl.Message, language: str, *, again: bool) -> None:
        session = cl.context.session
        thread_id = session.thread_id
        turns = self._turns.of(session)
        begins = not turns.resumed and turns.asked == {message.id} and not again
        # What only begins is not in the store yet, and the answer need not wait until it is.
        thread = None if begins else await self._layer.get_thread(thread_id)
        if thread is None:
            if len(turns.asked) > 1:
                await say_error(say("thread_deleted", language))
                return
            thread = {"steps": [], "elements": [], "name": message.content}
        steps = await self._cut_what_followed(thread, message) if again else _before(thread, message)
        question = await self._question(thread, message)
        choices = Choices.from_values(cl.context.session.chat_settings, self._default)
        model = await self._pick(message, language)
        await self._load_tables()
        known = DEFAULT_WINDOW if self._model.demo else context_window(model)
        window = self._settings.openai_context_tokens or known
        try:
            context = await build_messages(
                steps,
                thread["elements"],
                question,
                model=model,
                window=window,
                max_tokens=choices.max_tokens,
                system_prompt=choices.system_prompt,
                vision=self._settings.openai_vision,
                load_attachment=self._stored,
            )
        except ModelError as error:
            logger.warning("no answer: %s", error, extra={"thread_id": thread_id})
            metrics.model_errors.labels(error.kind).inc()
            await say_error(explain(error, language, model=model), model=model)
            return
        await self._say_notices(question, language)
        if context.left_out and not any((step.get("metadata") or {}).get(_OLDER_LEFT_OUT) for step in steps):
            notice = {"status": NOTICE_STATUS, _OLDER_LEFT_OUT: True}
            await cl.Message(content=say("older_left_out", language), metadata=notice).send()
        request = ModelRequest(context.messages, model, choices.temperature, choices.max_tokens)
        outcome = await self._stream(request, thread_id, language)
        if not self._is_warm:
            # What the first answer loaded stays for good, too.
            self._is_warm = True
            gc.freeze()
        if outcome.error is not None:
            metrics.model_errors.labels(outcome.error.kind).inc()
            sentence = explain(outcome.error, language, model=model)
            if outcome.error.kind in NEED_ANOTHER_MODEL:
                # A button would ask the same one again: the page sends what was picked with a new message alone.
                await say_error(sentence, model=model, is_final=True)
            else:
                await self._say_error(sentence, message.id, language, model=model)
        # Until it has a title, a thread has its first question for a name.
        first = next((step["output"] for step in steps if step["type"] == "user_message"), message.content)
        if outcome.text and thread["name"] == first:
            self.run_beside(self._title(thread_id, first, outcome.text))

    async def _stream(self, request: ModelRequest, thread_id: str, language: str) -> Outcome:
        reply, outcome = Reply(self._layer, request.model, language, footer=self._settings.usage_footer), Outcome()
        request = replace(request, purpose=purpose_of_answer(reply, thread_id, language))
        self._answering[reply.message.id] = reply
        try:
            await stream_answer(self._model, request, reply, outcome=outcome, thread_id=thread_id)
        except asyncio.CancelledError:
            # Shielded: a server that stops cancels once more what the user has stopped already.
            ending = asyncio.create_task(self._end_early(reply, outcome))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            await asyncio.shield(ending)
            raise
        else:
            await reply.finish(outcome)
        finally:
            self._answering.pop(reply.message.id, None)
        return outcome

    async def _end_early(self, reply: Reply, outcome: Outcome) -> None:
        if not self._stopping:
            await remove_stop_notice()
        await reply.finish(outcome, stopping=self._stopping)

    async def _cut_what_followed(self, thread: dict[str, Any], message: cl.Message) -> list[dict[str, Any]]:
        """The steps before a question that is asked again; what came after it is cut."""
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

    async def _question(self, thread: dict[str, Any], message: cl.Message) -> Question:
        attachments: list[Attachment] = []
        if message.elements:
            self._reader.admit(await asyncio.to_thread(_names_and_sizes, message.elements))
            for element in message.elements:
                content = await asyncio.to_thread(Path(element.path).read_bytes) if element.path else b""
                attachments.append(await self._reader.read(element.name, element.mime, content))
        else:
            # A question that was edited after its thread was resumed: its files are in the store.
            own = [element for element in thread["elements"] if element.get("forId") == message.id]
            attachments = [found for element in own if (found := await self._stored(element)) is not None]
        for attachment in attachments:
            if isinstance(attachment, Picture) and not self._settings.openai_vision:
                raise AttachmentRefused("attachment_no_vision", name=attachment.name)
        return Question(message.content, attachments)

    async def _say_notices(self, question: Question, language: str) -> None:
        notices = [notice.say(language) for attachment in question.attachments for notice in attachment.notices]
        if notices:
            await cl.Message(content="\n\n".join(notices), metadata={"status": NOTICE_STATUS}).send()

    async def _read_stored(self, element: Mapping[str, Any]) -> Attachment | None:
        found = await self._layer.open_element(element["threadId"], element["id"])
        if found is None:
            return None
        content = b"".join([chunk async for chunk in found[1]])
        return await self._reader.read(element["name"], element.get("mime"), content)

    async def _pick(self, message: cl.Message, language: str) -> str:
        model = chosen_model(message.modes, self._models)
        wanted = (message.modes or {}).get(MODEL, model)
        if wanted != model:
            await cl.context.emitter.send_toast(say("model_unknown", language, model=wanted, other=model), "info")
        return model

    # Beside a turn

    def run_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what nobody waits for; it is ended with the conversations."""
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _title(self, thread_id: str, question: str, answer: str) -> None:
        """Replace the name that Chainlit made of the first question, unless the user was faster."""
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
                # The side bar reads its list again when it is told of an interaction.
                await cl.context.emitter.emit("first_interaction", {"interaction": title, "thread_id": thread_id})
        except DataLayerError as error:
            logger.warning("a title was not stored: %s", error, extra={"thread_id": thread_id})

    async def _say_error(self, sentence: str, question_id: str, language: str, *, model: str | None = None) -> None:
        """An error with a button to try again."""
        action = try_again(question_id, language)
        self._turns.of(cl.context.session).second_try = action
        await say_error(sentence, action, model=model)

    async def _remove_button(self, session: BaseSession) -> None:
        """The button of an earlier error goes when the conversation goes on."""
        turns = self._turns.of(session)
        if turns.second_try is not None:
            await turns.second_try.remove()
            turns.second_try = None

    async def _offer_second_try(self, steps: list[dict[str, Any]], turns: SessionTurns) -> None:
        """A thread that ends with an error, a cut answer or no answer gets its button back."""
        messages = [step for step in steps if step["type"] in ("user_message", "assistant_message")]
        questions = [step for step in messages if step["type"] == "user_message"]
        if not questions or self._turns_in(messages[-1]["threadId"]):
            return
        last = messages[-1]
        is_cut = last.get("streaming") or (last.get("metadata") or {}).get("status") == "cut"
        failed = last["type"] == "assistant_message" and (last.get("isError") or is_cut)
        is_final = (last.get("metadata") or {}).get(FINAL)
        if (failed and not is_final) or last["type"] == "user_message":
            turns.second_try = try_again(questions[-1]["id"], language_of_session())
            await turns.second_try.send(for_id=last["id"])

    def _turns_in(self, thread_id: str) -> bool:
        return any(reply.message.thread_id == thread_id for reply in self._answering.values())


def language_of_session() -> str:
    """The language that the browser of the current session asks for first."""
    session = cl.context.session
    return session.language if isinstance(session, WebsocketSession) else "en"


def _names_and_sizes(elements: Sequence[Any]) -> list[tuple[str, int]]:
    return [(element.name, Path(element.path).stat().st_size if element.path else 0) for element in elements]


def _before(thread: dict[str, Any], message: cl.Message) -> list[dict[str, Any]]:
    """What the thread holds beside a new question and its own run, whatever the clocks say of the order."""
    run = cl.context.current_run
    own = {message.id, run.id if run else None}
    return [step for step in thread["steps"] if step["id"] not in own]


async def _as_a_turn(handler: Any, message: cl.Message) -> None:
    await cl.context.emitter.task_start()
    try:
        await handler(message)
    finally:
        await cl.context.emitter.task_end()
