"""Builds what the model is given from what the thread has kept: the conversation so far, then the question.

The stored thread is the only memory, so a resumed thread has the same context as one that never stopped. It
holds more than the conversation (tool steps, errors, notices), which stays out. When it is longer than the
model's window the oldest messages go first, and always whole; system prompt and question are never cut. A
question that does not fit alone is an error in words, not a silent cut.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from threadkeeper.chainlit_texts import STOP_NOTICE
from threadkeeper.chat.attachments import Attachment, AttachmentRefused, Picture
from threadkeeper.chat.llm import ModelError
from threadkeeper.chat.messages import ChatMessage, Part, absent_part, file_part, picture_parts, user_message
from threadkeeper.chat.tokens import REQUEST_TOKENS, TokenCounter, counter_for, message_tokens, most_message_tokens
from threadkeeper.chat.words import unmark_answer

logger = logging.getLogger(__name__)

DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful assistant. Answer in the language of the user, to the point, in Markdown where it helps. "
    "Say so when you do not know something."
)
NOTICE_STATUS = "notice"
"""`metadata.status` of a message that the chat itself wrote: it is kept and shown, and never part of the context."""

_LEFT_OUT_STATUSES = ("error", NOTICE_STATUS)
_ROLES: dict[str, Any] = {"user_message": "user", "assistant_message": "assistant"}
_LARGEST_RESERVE = 16_384

Step = Mapping[str, Any]
Element = Mapping[str, Any]
LoadAttachment = Callable[[Element], Awaitable[Attachment | None]]


@dataclass(frozen=True)
class Question:
    """What the user asks now. `step_id` and `created_at` place it in the thread; without them it comes after
    everything.
    """

    text: str
    attachments: Sequence[Attachment] = ()
    step_id: str | None = None
    created_at: str | None = None


@dataclass(frozen=True)
class Context:
    """The messages to send, and how many older ones had no room.

    `tokens`: what they have as counted here; where even that is far below the room, what they have at most.
    """

    messages: list[ChatMessage]
    tokens: int
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
    """`steps` and `elements` are a Chainlit ThreadDict's. `window` and `max_tokens` are tokens; room for the
    answer is set aside: `max_tokens`, else a quarter of the window, at most 16,384, and never more than half of
    it.

    Raises ModelError of kind "too_long" (values: tokens, window) when the question does not fit.
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
            # An answer whose question had no room would open the conversation.
            while kept and kept[-1]["role"] == "assistant":
                kept.pop()
                room.give_back()
            break
        kept.append(message)
    return Context([*system, *reversed(kept), asked], room.used, len(earlier) - len(kept))


class _Room:
    """Takes messages in as long as they fit.

    Messages have what they have at most until that no longer fits: only then are they counted, those that were taken in
    before too.
    """

    def __init__(self, size: int, counter: TokenCounter) -> None:
        """`size`: in tokens."""
        self.size = size
        self.counter = counter
        self.used = REQUEST_TOKENS
        self._is_exact = False
        self._taken: list[tuple[ChatMessage, int]] = []

    async def takes(self, message: ChatMessage) -> bool:
        """Whether there is room for the message, which is then taken in."""
        tokens = await self._tokens(message)
        if self.used + tokens > self.size and not self._is_exact:
            self._is_exact = True
            taken = [earlier for earlier, _ in self._taken]
            # All of them at once; after that their counts are known.
            self.used = await message_tokens(taken, self.counter)
            self._taken = [(earlier, await self._tokens(earlier)) for earlier in taken]
            tokens = await self._tokens(message)
        if self.used + tokens > self.size:
            return False
        self._taken.append((message, tokens))
        self.used += tokens
        return True

    def give_back(self) -> None:
        """Let go of the message that was taken in last."""
        self.used -= self._taken.pop()[1]

    async def _tokens(self, message: ChatMessage) -> int:
        if not self._is_exact:
            return most_message_tokens(message, self.counter)
        return await message_tokens([message], self.counter) - REQUEST_TOKENS


def _before(steps: Sequence[Step], question: Question) -> list[Step]:
    """In the order of time; a step without a time stays behind the one that it was stored after."""
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
    return status not in _LEFT_OUT_STATUSES and text != STOP_NOTICE and bool(unmark_answer(text).strip())


async def _message(step: Step, elements: Sequence[Element], vision: bool, load: LoadAttachment | None) -> ChatMessage:
    text = step.get("output") or ""
    if _ROLES[step["type"]] == "assistant":
        return {"role": "assistant", "content": unmark_answer(text)}
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
        # The store fails for one old file: the conversation goes on, and the model knows that something is missing.
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
