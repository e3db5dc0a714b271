"""One answer on the page and in the store: shown as it arrives, stored while it grows, finished with its final state.

While the answer is written, its row has `streaming`. If the process dies, that row stays, and readers see the text so
far with a mark that it was cut off.

The thought of the answer is a step of its own (`thought_step`). It is stored when the model begins to answer; only a
long one is stored before.
"""

import asyncio
import logging
import time
from collections.abc import Container, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, NamedTuple, cast

import chainlit as cl
from chainlit.chat_context import chat_context
from chainlit.config import config
from chainlit.step import StepDict

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.errors import DataLayerError
from datalayer.history.answers import IDK, ORIGIN
from datalayer.records.usage import LimitStanding, LlmCall
from threadkeeper import metrics
from threadkeeper.chat.answer import Outcome
from threadkeeper.chat.model import Delta, Finish, Purpose
from threadkeeper.chat.wording import AnswerMark, mark_answer, say, say_contents, say_nearly_used, unmark_answer
from threadkeeper.citations import CITED, SOURCES
from threadkeeper.conversation.assistants import DEFAULT_CHAT, Answerer
from threadkeeper.conversation.notices import last_notice
from threadkeeper.conversation.passages import NO_PASSAGES, Passages, citation_facts, passages_of, send_cited
from threadkeeper.conversation.pictures import send_pictures
from threadkeeper.conversation.thought_step import ThoughtStep, is_thought
from threadkeeper.conversation.usage_footer import show_footers, usage_with
from threadkeeper.conversation.waiting import counted_down
from threadkeeper.formulas.page import PageText
from threadkeeper.language.chainlit_texts import STOP_NOTICE

logger = logging.getLogger(__name__)


class AskingProgram(NamedTuple):
    """The API key of the program that asks, without `models` for all of them; the project that pays, None for the
    default one; and whether its question was stored in the thread before, where it waited."""

    key_id: str
    project_id: str | None
    models: tuple[str, ...]
    is_stored: bool = False


asking_program: ContextVar[AskingProgram | None] = ContextVar("asking_program", default=None)
"""The program whose question is answered; None for a page."""
FINAL = "is_final"
"""Metadata key of an error after which the same question would fail again."""
LEFT_OUT = "left_out_parameters"
"""Metadata key of an answer: the parameters of its assistant that the server refused."""
TAIL = "tail"
"""Metadata key of the trailing white space of an incomplete answer."""


class AnswerMessage(cl.Message):
    """A message without the delay of Chainlit's own, whose constructor blocks the event loop for a millisecond."""

    def __init__(self, model: str | None) -> None:
        self.content = ""
        self.author = config.ui.name
        self.metadata = {"model": model}
        self.actions, self.elements = [], []
        self.created_at = utc_now()
        super().__post_init__()


class Reply:
    """Shows and stores one answer: the sink of `stream_answer` for a Chainlit message.

    Args:
        continued: the StepDict of an incomplete answer; the text is appended to it.
        answerer: who answers. A continued answer keeps the name of who began it.
        passages: that the model gets.
    """

    def __init__(
        self,
        layer: ChainlitLayer,
        model: str | None,
        language: str,
        *,
        footer: bool = False,
        continued: Mapping[str, Any] | None = None,
        answerer: Answerer = DEFAULT_CHAT,
        passages: Passages = NO_PASSAGES,
    ) -> None:
        self._layer = layer
        self._language = language
        self._footer = footer
        self._call: LlmCall | None = None
        self.answerer = answerer
        self.passages = passages
        self.message = AnswerMessage(model)
        self.note(answerer.facts)
        self._page_text = PageText()
        self._before = ""
        self._used: Mapping[str, Any] = {}
        self._continued = continued
        self.thought: ThoughtStep | None = None
        self._began = time.perf_counter()
        self._has_text = False
        self._is_end_shown = False
        self._is_kept = False
        if continued is not None:
            metadata = continued.get("metadata") or {}
            self._before = text_to_continue(continued)
            self._page_text.add(self._before)
            self._used = metadata.get("usage") or {}
            self.message.id, self.message.parent_id = continued["id"], continued.get("parentId")
            self.message.created_at, self.message.content = continued["createdAt"], self._before
            self.message.metadata = {**metadata, "model": model}
            # The sentence stands below the whole answer.
            self.message.metadata.pop(SOURCES, None)
        self.note(passages.facts(passages_of({"metadata": self.message.metadata})))
        self._cited = frozenset((self.message.metadata or {}).get(CITED) or ())

    async def show(self, text: str) -> None:
        self._begin_text()
        await self._show_end_of_thought()
        self.message.content += text
        shown, is_whole = self._page_text.add(text)
        if self.message.streaming:
            await cl.context.emitter.send_token(self.message.id, shown, is_whole)
            return
        self.message.streaming = True
        # The page does not have the answer yet: it gets the text with it.
        await cl.context.emitter.stream_start(self.message.to_dict())

    async def show_thought(self, text: str) -> None:
        is_first = self.thought is None
        if self.thought is None:
            self.thought = ThoughtStep(self.message.thread_id, self.message.parent_id, utc_now(), time.perf_counter())
        await self._think(text, is_first=is_first)

    async def take_back(self, thought: str) -> None:
        is_first = self.thought is None
        if self.thought is None:
            began_at = utc_now() if self._continued else self.message.created_at or utc_now()
            self.thought = ThoughtStep(self.message.thread_id, self.message.parent_id, began_at, self._began)
        if self.message.streaming:
            self.message.content, self.message.streaming, self._has_text = self._before, False, False
            self._page_text = PageText()
            self._page_text.add(self._before)
            if self._continued is None:
                await cl.context.emitter.delete_step(self.message.to_dict())
            else:
                await cl.context.emitter.update_step(self.message.to_dict())
        await self._think(thought.removeprefix(self.thought.shown_text), is_first=is_first)

    async def _think(self, text: str, *, is_first: bool) -> None:
        assert self.thought is not None
        self.thought.shown_text += text
        if is_first:
            await cl.context.emitter.stream_start(cast("StepDict", self.thought.shown(self._language)))
        else:
            await cl.context.emitter.send_token(self.thought.id, text)

    def _begin_text(self) -> None:
        """The first text has come: the thought before it is at its end, and a new answer stands behind it."""
        if not self._has_text and self.thought is not None:
            if self._continued is None:
                self.message.created_at = utc_now()
            self.thought.end()
        self._has_text = True

    async def _show_end_of_thought(self) -> None:
        if self.thought is not None and self.thought.is_ended and not self._is_end_shown:
            self._is_end_shown = True
            await cl.context.emitter.update_step(cast("StepDict", self.thought.shown(self._language)))

    @property
    def step_ids(self) -> tuple[str, ...]:
        return (self.message.id, self.thought.id) if self.thought else (self.message.id,)

    def put_into(self, steps: list[dict[str, Any]]) -> None:
        """Put the text and the thought so far into the StepDicts of the thread, which was read from the store."""
        places = {step["id"]: at for at, step in enumerate(steps)}
        if self._has_text and self.message.content and self.message.id not in places:
            steps.append(cast("dict[str, Any]", self.message.to_dict()))
            places[self.message.id] = len(steps) - 1
        if self.message.id in places:
            steps[places[self.message.id]]["output"] = self.message.content
        if self.thought is not None:
            if self.thought.id in places:
                steps[places[self.thought.id]] |= self.thought.so_far()
            else:
                steps.insert(places.get(self.message.id, len(steps)), self.thought.so_far())

    def note(self, facts: Mapping[str, Any]) -> None:
        """Store these facts in the metadata of the answer."""
        self.message.metadata = {**(self.message.metadata or {}), **facts}

    def called(self, call: LlmCall) -> None:
        """Remember the usage of a model call for this answer; the last call is the one that counts."""
        self._call = call

    async def keep(self, text: str, thought: str) -> None:
        self._begin_text()
        if self.thought is not None:
            self.thought.set(thought)
        self._is_kept = True
        await self._store({**self.message.to_dict(), "output": self._before + text, "streaming": True})

    async def keep_thought(self, thought: str) -> None:
        if self.thought is not None:
            self.thought.set(thought)
            await self._store()

    async def _store(self, *steps: Any) -> None:
        """Store the steps, and the thought if the store does not have its latest state: together, in one batch."""
        thought = self.thought if self.thought is not None and not self.thought.is_stored else None
        if thought is not None:
            thought.is_stored = True
            steps = (thought.to_dict(), *steps)
        try:
            await asyncio.gather(*(self._layer.update_step(step) for step in steps))
        except DataLayerError:
            if thought is not None:
                thought.is_stored = False
            raise

    async def finish(self, outcome: Outcome, *, stopping: bool = False) -> None:
        """Store and show the final state.

        Args:
            outcome: text, status and times of the answer.
            stopping: the answer ends because the server stops, not because the user pressed Stop.
        """
        status = "cut" if stopping and outcome.stopped else outcome.status
        metrics.answers.labels(_counted(status)).inc()
        if outcome.first_token_seconds is not None:
            metrics.first_token_seconds.observe(outcome.first_token_seconds)
        if self.thought is not None:
            self.thought.set(outcome.thought)
            self.thought.end()
            await self._show_end_of_thought()
        if status == "error" or (status == "stopped" and not (self._before or outcome.has_content)):
            await self._finish_without_text()
            return
        self._begin_text()
        text = self._before + outcome.text
        mark = _mark(status) or ("picture" if outcome.pictures and not text else None)
        self.message.content = mark_answer(text, mark, self._language) if mark else text
        facts = _facts(outcome, self._call, self._used)
        self.message.metadata = {**(self.message.metadata or {}), "status": status, **facts}
        if tail := text[len(text.rstrip()) :] if mark else "":
            self.message.metadata[TAIL] = tail
        else:
            self.message.metadata.pop(TAIL, None)
        for key in (CITED, SOURCES):
            self.message.metadata.pop(key, None)
        self.note(citation_facts(text, self.message.metadata, self._language))
        is_shown = self.message.streaming or self._continued is not None
        self.message.streaming = False
        self.message.persisted = True
        chat_context.add(self.message)
        step = self.message.to_dict()
        try:
            await self._store(step)
        except DataLayerError:
            # The layer has logged and shown the failure; the page shows the answer all the same.
            logger.debug("the final state of an answer was not stored", extra={"step_id": self.message.id})
        # Without text, the page does not have the message yet.
        await (cl.context.emitter.update_step(step) if is_shown else cl.context.emitter.send_step(step))
        if self._footer:
            await show_footers([step], self._language, replace=bool(self._before))
        # Shielded, because Stop takes back neither a picture nor what the answer cites.
        if outcome.pictures:
            await asyncio.shield(send_pictures(self._layer, outcome.pictures, self.message, self._language))
        if outcome.not_shown:
            contents = say_contents(outcome.not_shown, self._language)
            await last_notice(say("notice_not_shown", self._language, contents=contents)).send()
        new = [number for number in (self.message.metadata or {}).get(CITED) or () if number not in self._cited]
        if new and not stopping:
            await asyncio.shield(send_cited(self._layer, self.passages, new, self.message, self._language))

    async def _finish_without_text(self) -> None:
        """Store the thought, and take text out of the store that turned out to be thought."""
        try:
            await self._store()
            if self._is_kept and self._continued is not None:
                await self._layer.update_step(self._continued)
            elif self._is_kept:
                await self._layer.delete_step(self.message.id)
        except DataLayerError:
            logger.debug("the thought of an answer was not stored", extra={"step_id": self.message.id})


async def remove_stop_notice() -> None:
    """Remove Chainlit's own notice: the answer itself says that it was stopped, in the user's language."""
    for message in reversed(chat_context.get()):
        if message.content == STOP_NOTICE and message.type == "assistant_message":
            await message.remove()
            return


async def say_error(sentence: str, *, model: str | None = None, is_final: bool = False) -> cl.Message:
    """Show an error on the page; returns its message.

    Args:
        sentence: the text.
        model: the model that failed.
        is_final: no second try is offered, also not after the thread is resumed.
    """
    facts: dict[str, Any] = {"model": model} if model else {}
    if is_final:
        facts[FINAL] = True
    message = cl.Message(content=sentence, metadata={"status": "error", **facts})
    message.is_error = True
    await message.send()
    return message


async def say_unknown(layer: ChainlitLayer, answerer: Answerer, text: str, language: str) -> str:
    """Answer with the `idk` text of an assistant; returns the id of the answer."""
    reply, outcome = Reply(layer, None, language, answerer=answerer), Outcome()
    reply.note({ORIGIN: IDK})
    outcome.add(Delta(text))
    outcome.finish = Finish("stop", None, None)
    await reply.show(text)
    await reply.finish(outcome)
    return reply.message.id


def text_to_continue(step: Mapping[str, Any]) -> str:
    """The text of an incomplete answer as the model wrote it, with its trailing white space."""
    return unmark_answer(step.get("output") or "") + ((step.get("metadata") or {}).get(TAIL) or "")


def mark_unfinished(steps: Sequence[dict[str, Any]], alive: Container[str], language: str) -> bool:
    """Mark each answer whose process died while it was written as cut off, and end its thought; whether there is one.

    Args:
        alive: ids of the answers and thoughts in progress.
    """
    left = [step for step in steps if step["id"] not in alive]
    for thought in filter(is_thought, left):
        thought["streaming"], thought["end"] = False, thought.get("end") or thought.get("start")
    cut = [step for step in left if step.get("streaming") and step.get("type") == "assistant_message"]
    for answer in cut:
        answer |= {"streaming": False, "output": mark_answer(answer.get("output") or "", "cut", language)}
    return bool(cut)


def _mark(status: str) -> AnswerMark | None:
    marks: dict[str, AnswerMark] = {"stopped": "stopped", "cut": "cut", "length": "length", "filtered": "filtered"}
    return marks.get(status)


def _counted(status: str) -> str:
    return {"complete": "complete", "length": "complete", "stopped": "stopped"}.get(status, "failed")


def _facts(outcome: Outcome, call: LlmCall | None, used: Mapping[str, Any]) -> dict[str, Any]:
    """Times, usage and model of the answer, as they are stored in its metadata. `used`: the usage of its beginning."""
    facts: dict[str, Any] = {"seconds": round(outcome.seconds, 3)}
    if outcome.first_token_seconds is not None:
        facts["first_token_seconds"] = round(outcome.first_token_seconds, 3)
    if outcome.finish is not None and outcome.finish.model:
        facts["answered_by"] = outcome.finish.model
    if call is not None and call.prompt_tokens is not None:
        facts["usage"] = usage_with(call, used)
    return facts


def purpose_of_session(kind: str, thread_id: str, answerer: Answerer) -> Purpose:
    """The purpose of a call for the current session, in which this one answers."""
    session = cl.context.session
    user_id = session.user.id if isinstance(session.user, cl.PersistedUser) else None
    program = asking_program.get()
    key_id, project_id = (program.key_id, program.project_id) if program else (None, None)
    purpose = Purpose(kind, user_id=user_id, thread_id=thread_id, key_id=key_id, project_id=project_id)
    return answerer.purpose(purpose)


def purpose_of_answer(reply: Reply, thread_id: str, language: str) -> Purpose:
    """The purpose of the call for an answer. The reply gets its usage; the user sees warnings of limits."""

    async def warn(standing: LimitStanding) -> None:
        await cl.context.emitter.send_toast(say_nearly_used(standing, language), "warning")

    return replace(
        purpose_of_session("chat", thread_id, reply.answerer),
        step_id=reply.message.id,
        on_call=reply.called,
        on_warning=warn,
        on_wait=counted_down(thread_id, language),
    )
