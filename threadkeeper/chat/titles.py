"""A short title for a thread, which the model writes from the first question and answer.

If that fails, the log says why, and the thread keeps its name, until it is tried again if the model was away.
"""

from __future__ import annotations

import asyncio
import logging
import re

from threadkeeper.chat.model import ErrorKind, Model, ModelError, ModelRequest, Purpose

logger = logging.getLogger(__name__)

LONGEST_TITLE = 60
LONGEST_NAME = 1_000
"""Of a thread that a program names, or that is named after the first question of a program."""
TIMEOUT_SECONDS = 20.0

_READ_CHARACTERS = 2_000
# A title has a dozen tokens; the rest is for models that think first and are billed for it as part of the answer.
_MAX_TOKENS = 500
_INSTRUCTION = (
    "Write a title of three to seven words for the conversation that the user shows you. "
    "Use the language of the conversation. "
    "Answer with the title alone: no quotation marks, no full stop, no explanation."
)
_LABEL = re.compile(r"^(?:title|标题|題目|题目)\s*[:：]\s*", re.IGNORECASE)
_AROUND = " \t\"'`*_“”‘’«»「」『』《》.。"


_AWAY: frozenset[ErrorKind] = frozenset(
    {"server", "timeout", "cut", "unreachable", "rate_limit", "in_flight", "limit_unchecked"}
)


class TitleMissed(Exception):
    """The model was away; later it may give a title."""


def first_name(question: str) -> str:
    """The name of a thread before it has a title: its first question, cut. Chainlit's page cuts none."""
    return question[:LONGEST_NAME]


async def make_title(
    model: Model,
    question: str,
    answer: str,
    *,
    title_model: str,
    purpose: Purpose | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> str | None:
    """A title of at most LONGEST_TITLE characters on one line, or None if the model gives none.

    With the demo model, the question itself is shortened.

    Raises:
        TitleMissed: the model was away.
    """
    if model.demo:
        return title_of(question)
    purpose = purpose or Purpose("title")
    conversation = f"Question:\n{question[:_READ_CHARACTERS]}\n\nAnswer:\n{answer[:_READ_CHARACTERS]}"
    request = ModelRequest(
        [{"role": "system", "content": _INSTRUCTION}, {"role": "user", "content": conversation}],
        model=title_model,
        max_tokens=_MAX_TOKENS,
        purpose=purpose,
    )
    thread_id = purpose.thread_id
    try:
        async with asyncio.timeout(timeout_seconds):
            completion = await model.complete(request)
    except ModelError as error:
        logger.warning("thread %s: no title from model %s: %s", thread_id, title_model, error)
        if error.kind in _AWAY:
            raise TitleMissed(f"the model {title_model} gave no title ({error.kind})") from error
        return None
    except TimeoutError as error:
        logger.warning("thread %s: no title from model %s within %s s", thread_id, title_model, timeout_seconds)
        raise TitleMissed(f"the model {title_model} gave no title within {timeout_seconds:g} s") from error
    title = title_of(completion.text)
    if title is None:
        why = "used its tokens up in thought" if completion.thought else "has no words"
        logger.warning("thread %s: the title from model %s %s", thread_id, title_model, why)
    return title


def title_of(text: str) -> str | None:
    """The first line that has words, without quotation marks and label, cut at a word; None if no line has words."""
    for line in text.splitlines():
        title = _LABEL.sub("", " ".join(line.lstrip("# ").split()).strip(_AROUND)).strip(_AROUND)
        if any(character.isalnum() for character in title):
            return _shortened(title)
    return None


def _shortened(title: str) -> str:
    if len(title) <= LONGEST_TITLE:
        return title
    head = title[: LONGEST_TITLE - 1]
    # Chinese and other scripts have no spaces to cut at.
    cut = head.rsplit(" ", 1)[0] if " " in head[LONGEST_TITLE // 2 :] else head
    return f"{cut.rstrip(_AROUND)}…"
