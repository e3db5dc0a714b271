"""Puts an earlier answer back into its thread: the same step, with its model, usage, vote and thought."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import chainlit as cl
from chainlit.chat_context import chat_context

from datalayer.chainlit_dicts import feedback_dict_of
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.usage import LlmCall
from threadkeeper.chat.wording import mark_of
from threadkeeper.conversation.reply import AnswerMessage
from threadkeeper.conversation.thought_step import ThoughtStep, show_thoughts
from threadkeeper.conversation.usage_footer import show_footers, usage_with
from threadkeeper.conversation.versions import Version


async def put_back(
    layer: ChainlitLayer,
    version: Version,
    facts: Mapping[str, Any],
    language: str,
    *,
    model: str | None,
    footer: bool,
) -> cl.Message:
    """Store the answer of an earlier version again, and show it.

    It has its old id, so its model calls and verdicts belong to it again.

    Args:
        layer: stores it.
        version: the answer.
        facts: metadata of it that its elements know.
        language: of the user.
        model: the model of an answer without recorded calls.
        footer: show the answer's usage.
    """
    calls = await layer.calls_of_step(cl.context.session.thread_id, version.answer_id)
    answer = AnswerMessage(model)
    answer.id, answer.content = version.answer_id, version.answer
    mark = mark_of(version.answer)
    status = "complete" if mark in (None, "picture") else mark
    answer.metadata = {"model": model, "status": status, "is_restored": True, **_facts_of(calls), **facts}
    answer.persisted = True
    chat_context.add(answer)
    step: Any = answer.to_dict()
    shown = [step]
    if version.thought and answer.created_at:
        thought = ThoughtStep.ended(
            answer.thread_id, answer.parent_id, version.thought, answer.created_at, version.thought_seconds
        )
        shown.insert(0, thought.to_dict())
    await asyncio.gather(*(layer.update_step(one) for one in shown))
    show_thoughts(shown, language)
    for one in shown:
        await cl.context.emitter.send_step(one)
    if footer:
        await show_footers([step], language, replace=True)
    vote = await layer.restore_vote(answer.id, version.run_id or answer.id)
    if vote is not None:
        # Chainlit's page reads the vote of a run once, when it shows the thumbs at the end of the run.
        thumb: Any = feedback_dict_of(vote)
        await cl.context.emitter.update_step({"id": vote.for_id, "feedback": thumb})
    return answer


def _facts_of(calls: Sequence[LlmCall]) -> dict[str, Any]:
    """The metadata of an answer that its calls still tell. An answer that was continued has several."""
    counted = [one for one in calls if one.prompt_tokens is not None]
    if not counted:
        return {"model": calls[-1].model} if calls else {}
    last = counted[-1]
    usage: dict[str, Any] = {}
    for call in counted:
        usage = usage_with(call, usage)
    facts = {
        "seconds": None if last.seconds is None else round(last.seconds, 3),
        "first_token_seconds": None if last.first_token_seconds is None else round(last.first_token_seconds, 3),
        "answered_by": last.answered_by,
    }
    return {"model": last.model, "usage": usage, **{key: value for key, value in facts.items() if value is not None}}
