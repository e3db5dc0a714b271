"""One answer on the page and in the store: shown as it arrives, stored while it grows, finished with its final state.

While the answer is written, its row has `streaming`. If the process dies, that row stays, and readers see the text so
far with a mark that it was cut off.
"""

import logging
from collections.abc import Container, Iterable, Mapping
from decimal import Decimal
from typing import Any

import chainlit as cl
from chainlit.chat_context import chat_context
from chainlit.config import config
from chainlit.utils import utc_now

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.errors import DataLayerError
from datalayer.records.usage import LimitStanding, LlmCall
from threadkeeper import metrics
from threadkeeper.chat.answer import Outcome
from threadkeeper.chat.model import Purpose
from threadkeeper.chat.wording import AnswerMark, mark_answer, mark_of, say_nearly_used, unmark_answer
from threadkeeper.conversation.usage_footer import show_footers
from threadkeeper.formulas.page import PageText
from threadkeeper.language.chainlit_texts import STOP_NOTICE

logger = logging.getLogger(__name__)

FINAL = "is_final"
"""Metadata key of an error after which the same question would fail again."""
TAIL = "tail"
"""Metadata key of the blanks at the end of an incomplete answer."""


class _Answer(cl.Message):
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
    """

    def __init__(
        self,
        layer: ChainlitLayer,
        model: str,
        language: str,
        *,
        footer: bool = False,
        continued: Mapping[str, Any] | None = None,
    ) -> None:
        self._layer = layer
        self._language = language
        self._footer = footer
        self._call: LlmCall | None = None
        self.message = _Answer(model)
        self._page_text = PageText()
        self._before = ""
        self._used: Mapping[str, Any] = {}
        if continued is not None:
            metadata = continued.get("metadata") or {}
            self._before = text_to_continue(continued)
            self._page_text.add(self._before)
            self._used = metadata.get("usage") or {}
            self.message.id, self.message.parent_id = continued["id"], continued.get("parentId")
            self.message.created_at, self.message.content = continued["createdAt"], self._before
            self.message.metadata = {**metadata, "model": model}

    async def show(self, text: str) -> None:
        shown, is_whole = self._page_text.add(text)
        if not self.message.streaming:
            # The first text reaches the page with the message itself.
            await self.message.stream_token(text)
            return
        self.message.content += text
        await cl.context.emitter.send_token(self.message.id, shown, is_whole)

    def called(self, call: LlmCall) -> None:
        """Remember the usage of a model call for this answer; the last call is the one that counts."""
        self._call = call

    async def keep(self, text: str) -> None:
        await self._layer.update_step({**self.message.to_dict(), "output": self._before + text, "streaming": True})

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
        if status == "error" or (status == "stopped" and not self._before + outcome.text):
            return
        mark, text = _mark(status), self._before + outcome.text
        self.message.content = mark_answer(text, mark, self._language) if mark else text
        facts = _facts(outcome, self._call, self._used)
        self.message.metadata = {**(self.message.metadata or {}), "status": status, **facts}
        if tail := text[len(text.rstrip()) :] if mark else "":
            self.message.metadata[TAIL] = tail
        else:
            self.message.metadata.pop(TAIL, None)
        self.message.streaming = False
        self.message.persisted = True
        chat_context.add(self.message)
        step = self.message.to_dict()
        try:
            await self._layer.update_step(step)
        except DataLayerError:
            # The layer has logged and shown the failure; the page shows the answer all the same.
            logger.debug("the final state of an answer was not stored", extra={"step_id": self.message.id})
        await cl.context.emitter.update_step(step)
        if self._footer:
            await show_footers([step], self._language, replace=bool(self._before))


async def remove_stop_notice() -> None:
    """Take away Chainlit's own notice: the answer itself says that it was stopped, in the user's language."""
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


def text_to_continue(step: Mapping[str, Any]) -> str:
    """The text of an incomplete answer as the model wrote it, with the blanks at its end."""
    return unmark_answer(step.get("output") or "") + ((step.get("metadata") or {}).get(TAIL) or "")


def mark_unfinished(steps: Iterable[dict[str, Any]], alive: Container[str], language: str) -> None:
    """Mark each answer whose process died while it was written as cut off. `alive`: ids of answers in progress."""
    for step in steps:
        if step.get("streaming") and step.get("type") == "assistant_message" and step["id"] not in alive:
            step["streaming"] = False
            step["output"] = mark_answer(step.get("output") or "", "cut", language)


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
    if call is None or call.prompt_tokens is None:
        return facts
    facts["usage"] = {
        "prompt_tokens": call.prompt_tokens + int(used.get("prompt_tokens") or 0),
        "completion_tokens": (call.completion_tokens or 0) + int(used.get("completion_tokens") or 0),
        "is_estimated": call.is_estimated or bool(used.get("is_estimated")),
    }
    if call.total_cost is not None and (not used or used.get("dollars") is not None):
        facts["usage"]["dollars"] = f"{call.total_cost + Decimal(str(used.get('dollars') or 0)):f}"
    if call.tokens_per_second is not None:
        facts["usage"]["tokens_per_second"] = round(call.tokens_per_second, 1)
    return facts


async def put_back(layer: ChainlitLayer, text: str) -> cl.Message:
    """Store an earlier answer again, and show it."""
    answer = _Answer(None)
    answer.content = text
    answer.metadata = {"status": mark_of(text) or "complete", "is_restored": True}
    answer.persisted = True
    chat_context.add(answer)
    step = answer.to_dict()
    await layer.update_step(step)
    await cl.context.emitter.send_step(step)
    return answer


def purpose_of_session(kind: str, thread_id: str) -> Purpose:
    """The purpose of a call for the current session."""
    session = cl.context.session
    user_id = session.user.id if isinstance(session.user, cl.PersistedUser) else None
    return Purpose(kind, user_id=user_id, thread_id=thread_id, assistant=session.chat_profile or None)


def purpose_of_answer(reply: Reply, thread_id: str, language: str) -> Purpose:
    """The purpose of the call for an answer. The reply gets its usage; the user sees warnings of limits."""

    async def warn(standing: LimitStanding) -> None:
        await cl.context.emitter.send_toast(say_nearly_used(standing, language), "warning")

    whose = purpose_of_session("chat", thread_id)
    return Purpose(
        whose.kind,
        user_id=whose.user_id,
        thread_id=thread_id,
        step_id=reply.message.id,
        assistant=whose.assistant,
        on_call=reply.called,
        on_warning=warn,
    )
