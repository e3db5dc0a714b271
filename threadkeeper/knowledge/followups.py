"""Makes a question of a thread understandable without the thread, before passages are looked up for it.

"And in winter?" has no word of what it asks about. The model rewrites it. Without a model, or if that fails, the words
of the question before it are added to a short one.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import replace

from datalayer.thought import speech_of
from threadkeeper.chat.context.refusals import refused_ids
from threadkeeper.chat.context.steps import NOTICE_STATUS, Step, metadata_of
from threadkeeper.chat.model import Model, ModelError, ModelRequest, Purpose, plain_reason
from threadkeeper.chat.wording import unmark_answer

logger = logging.getLogger(__name__)

KIND = "rewrite"
"""The kind of the calls."""
TIMEOUT_SECONDS = 8.0

_READ_MESSAGES = 6
_READ_CHARACTERS = 1_000
_LONGEST = 2_000
# A question has a few dozen tokens; the rest is for models that think first.
_MAX_TOKENS = 500
# A question with more words says itself what it asks about; a Chinese character counts as half a word.
_FEW_WORDS = 7
_INSTRUCTION = (
    "The user shows you a conversation and the question that follows it. Write this question so that it can be "
    "understood without the conversation: put in what it refers to, and nothing else. Keep its language. If it can be "
    "understood by itself, write it unchanged. Do not answer it. Write the question alone, on one line."
)
_CJK = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_AROUND = " \t\"'`*“”‘’«»「」『』《》"
_LABEL = re.compile(r"^(?:rewritten )?(?:question|问题|問題)\s*[:：]\s*", re.IGNORECASE)


async def standalone(question: str, thread: Sequence[Step], model: Model, name: str, purpose: Purpose) -> str:
    """The question in words that need no thread.

    Args:
        question: as the user typed it.
        thread: the StepDicts before it, oldest first.
        model: rewrites it. No call is made if there is no question before it.
        name: of the model.
        purpose: for whom the call is made.
    """
    said = _said(thread)
    asked = [text for is_question, text in said if is_question]
    if not asked or not question.strip():
        return question
    if model.demo:
        return with_words_of(asked[-1], question)
    lines = [f"{'User' if is_question else 'Assistant'}: {text[:_READ_CHARACTERS]}" for is_question, text in said]
    shown = "\n\n".join([*lines[-_READ_MESSAGES:], f"Question: {question[:_LONGEST]}"])
    request = ModelRequest(
        [{"role": "system", "content": _INSTRUCTION}, {"role": "user", "content": shown}],
        name,
        max_tokens=_MAX_TOKENS,
        purpose=replace(purpose, kind=KIND),
    )
    ids = {"thread_id": purpose.thread_id}
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            completion = await model.complete(request)
    except (ModelError, TimeoutError) as error:
        why = str(error) or f"no answer within {TIMEOUT_SECONDS:g} s"
        logger.warning("a follow-up question is looked up with the words of the last: %s", why, extra=ids)
        return with_words_of(asked[-1], question)
    rewritten, reason = _question_of(completion.text), completion.finish.reason
    if rewritten is None or plain_reason(reason) not in ("", "stop", "end_turn"):
        logger.warning(
            "a follow-up question is looked up with the words of the last: it ends with %s", reason, extra=ids
        )
        return with_words_of(asked[-1], question)
    return rewritten


def with_words_of(last: str, question: str) -> str:
    """A short question with the one before it; a longer one as it is."""
    characters = len(_CJK.findall(question))
    words = len(_CJK.sub(" ", question).split()) + characters / 2
    return question if words > _FEW_WORDS else f"{last[:_READ_CHARACTERS]} {question}"


def _said(thread: Sequence[Step]) -> list[tuple[bool, str]]:
    """The questions (True) and answers of a thread, without notices, errors and refused questions."""
    refused, said = refused_ids(thread), list[tuple[bool, str]]()
    for step in thread:
        text, kind = step.get("output") or "", step.get("type")
        is_spoken = not step.get("isError") and metadata_of(step).get("status") not in ("error", NOTICE_STATUS)
        if kind not in ("user_message", "assistant_message") or step["id"] in refused or not is_spoken:
            continue
        text = text if kind == "user_message" else speech_of(unmark_answer(text))
        if text.strip():
            said.append((kind == "user_message", text.strip()))
    return said


def _question_of(text: str) -> str | None:
    """The first line with words; None without one."""
    for line in text.splitlines():
        question = _LABEL.sub("", line.strip(_AROUND)).strip(_AROUND)
        if any(character.isalnum() for character in question):
            return question[:_LONGEST]
    return None
