"""Builds the context for the model from the stored thread: the conversation so far, then the question.

The stored thread is the only memory, so a resumed thread has the same context as one that never stopped. Tool steps,
errors and notices are left out. If the thread is longer than the model's window, the oldest messages are left out, each
as a whole; system prompt and question are never cut. A question that does not fit by itself raises an error.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from datalayer.thought import speech_of
from threadkeeper.chat.attachments.reader import Attachment, AttachmentRefused, Picture
from threadkeeper.chat.context.tokens import (
    REQUEST_TOKENS,
    TokenCounter,
    counter_for,
    message_tokens,
    most_message_tokens,
)
from threadkeeper.chat.messages import ChatMessage, Part, absent_part, file_part, picture_parts, user_message
from threadkeeper.chat.model import ModelError
from threadkeeper.chat.wording import unmark_answer
from threadkeeper.language.chainlit_texts import STOP_NOTICE

logger = logging.getLogger(__name__)

DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful assistant. Answer in the language of the user, to the point, in Markdown where it helps. "
    "Say so when you do not know something."
)
CONTINUE_PROMPT = (
    "Your last answer was interrupted. Continue it exactly where it ends. "
    "Do not repeat any of it, and add no introduction."
)
"""Sent in place of a question to continue an answer; it is not stored."""
NOTICE_STATUS = "notice"
"""`metadata.status` of a message that the chat itself wrote: stored and shown, but never part of the context."""

_LEFT_OUT_STATUSES = ("error", NOTICE_STATUS)
_ROLES: dict[str, Any] = {"user_message": "user", "assistant_message": "assistant"}
_LARGEST_RESERVE = 16_384

Step = Mapping[str, Any]
Element = Mapping[str, Any]
LoadAttachment = Callable[[Element], Awaitable[Attachment | None]]


@dataclass(frozen=True)
class Question:
    """The question to answer. `step_id` and `created_at` (ISO 8601) place it in the thread; without them it is last."""

    text: str
    attachments: Sequence[Attachment] = ()
    step_id: str | None = None
    created_at: str | None = None


@dataclass(frozen=True)
class Context:
    """The messages to send, and the number of older messages that did not fit."""

    messages: list[ChatMessage]
    left_out: int


async def build_messages(
    steps: Sequence[Step],
    elements: Sequence[Element],
    question: Question,
    *,
    model: str,
    window: int,
    max_tokens: int | None = None,
    system_prompt: str = DEFAULT_SYSTEM_PROMPT,
    vision: bool = True,
    load_attachment: LoadAttachment | None = None,
) -> Context:
    """The messages for the model.

    Room for the answer is reserved: `max_tokens`, else a quarter of the window (16,384 tokens at most), and never more
    than half of the window.

    Args:
        steps: StepDicts of a Chainlit ThreadDict.
        elements: its ElementDicts.
        window: tokens that question and answer may have together.
        max_tokens: tokens of the answer at most.
        vision: whether the model takes pictures.
        load_attachment: reads the file of an ElementDict; None if it is not stored any more.

    Raises:
        ModelError: of kind "too_long" (values: tokens, window), if the question does not fit.
    """
    reserve = min(max_tokens or min(window // 4, _LARGEST_RESERVE), window // 2)
    room = _Room(window - reserve, counter_for(model))
    asked = user_message(question.text, _parts(question.attachments, vision=vision))
    system: list[ChatMessage] = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for message in (asked, *system):
        if not await room.takes(message):
            used = await message_tokens([asked, *system], room.counter)
            detail = f"the question alone has {used} tokens, {room.size} of the window of {window} are free for it"
            raise ModelError("too_long", detail, {"tokens": f"{used:,}", "window": f"{room.size:,}"})

    earlier = [step for step in _before(steps, question) if _belongs(step)]
    of_step: dict[str, list[Element]] = defaultdict(list)
    for element in elements:
        of_step[element.get("forId") or ""].append(element)

    kept: list[ChatMessage] = []
    for step in reversed(earlier):
        message = await _message(step, of_step[step["id"]], vision, load_attachment)
        if not await room.takes(message):
            # Without this, the conversation could begin with an answer whose question did not fit.
            while kept and kept[-1]["role"] == "assistant":
                kept.pop()
                room.give_back()
            break
        kept.append(message)
    return Context([*system, *reversed(kept), asked], len(earlier) - len(kept))


class _Room:
    """Takes messages as long as they fit into the window.

    Upper bounds are used until they no longer fit. Only then are the messages counted, the earlier ones included.
    """

    def __init__(self, size: int, counter: TokenCounter) -> None:
        """`size`: tokens."""
        self.size = size
        self.counter = counter
        self.used = REQUEST_TOKENS
        self._is_exact = False
        self._taken: list[tuple[ChatMessage, int]] = []

    async def takes(self, message: ChatMessage) -> bool:
        """Take the message if it fits; returns whether it did."""
        tokens = await self._tokens(message)
        if self.used + tokens > self.size and not self._is_exact:
            self._is_exact = True
            taken = [earlier for earlier, _ in self._taken]
            # All at once; after that their counts are cached.
            self.used = await message_tokens(taken, self.counter)
            self._taken = [(earlier, await self._tokens(earlier)) for earlier in taken]
            tokens = await self._tokens(message)
        if self.used + tokens > self.size:
            return False
        self._taken.append((message, tokens))
        self.used += tokens
        return True

    def give_back(self) -> None:
        """Remove the message that was taken last."""
        self.used -= self._taken.pop()[1]

    async def _tokens(self, message: ChatMessage) -> int:
        if not self._is_exact:
            return most_message_tokens(message, self.counter)
        return await message_tokens([message], self.counter) - REQUEST_TOKENS


def _before(steps: Sequence[Step], question: Question) -> list[Step]:
    """The steps before the question, by time; a step without a time stays after its predecessor."""
    timed: list[tuple[datetime, Step]] = []
    last = datetime.min.replace(tzinfo=UTC)
    for step in steps:
        last = _moment(step.get("createdAt")) or last
        timed.append((last, step))
    timed.sort(key=lambda pair: pair[0])
    ordered = [step for _, step in timed]
    for position, step in enumerate(ordered):
        if question.step_id is not None and step["id"] == question.step_id:
            return ordered[:position]
    asked = _moment(question.created_at)
    return [step for moment, step in timed if asked is None or moment < asked]


def _moment(created_at: object) -> datetime | None:
    if not isinstance(created_at, str):
        return None
    try:
        moment = datetime.fromisoformat(created_at)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _belongs(step: Step) -> bool:
    role = _ROLES.get(step.get("type") or "")
    if role is None or step.get("isError"):
        return False
    if role == "user":
        return True
    status = (step.get("metadata") or {}).get("status")
    text = step.get("output") or ""
    return status not in _LEFT_OUT_STATUSES and text != STOP_NOTICE and bool(_spoken(text).strip())


def _spoken(text: str) -> str:
    """An answer as it goes to the model: without the mark under it, and without a thought that was stored with it."""
    return speech_of(unmark_answer(text))


async def _message(step: Step, elements: Sequence[Element], vision: bool, load: LoadAttachment | None) -> ChatMessage:
    text = step.get("output") or ""
    if _ROLES[step["type"]] == "assistant":
        return {"role": "assistant", "content": _spoken(text)}
    parts: list[Part] = []
    for element in elements:
        parts += await _loaded(element, load, vision=vision)
    return user_message(text, parts)


async def _loaded(element: Element, load: LoadAttachment | None, *, vision: bool) -> list[Part]:
    name = element.get("name") or "file"
    try:
        attachment = await load(element) if load else None
    except AttachmentRefused:
        return [absent_part(name, "it could not be read")]
    except Exception:
        # One old file must not end the conversation; the model learns that the file is missing.
        logger.exception("thread %s: the attachment %s could not be loaded", element.get("threadId"), element.get("id"))
        return [absent_part(name, "it could not be loaded")]
    if attachment is None:
        return [absent_part(name, "it is no longer there")]
    return _parts([attachment], vision=vision)


def _parts(attachments: Sequence[Attachment], *, vision: bool) -> list[Part]:
    parts: list[Part] = []
    for attachment in attachments:
        if not isinstance(attachment, Picture):
            parts.append(file_part(attachment.name, attachment.text))
        elif vision:
            parts += picture_parts(attachment.name, attachment.data_url)
        else:
            parts.append(absent_part(attachment.name, "a picture, and this model cannot see pictures"))
    return parts
