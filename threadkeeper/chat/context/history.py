"""Builds the context for the model from the stored thread: the conversation so far, then the question.

The stored thread is the only memory, so a resumed thread has the same context as one that never stopped. Tool steps,
errors, notices and refused questions are left out. If the thread is longer than the model's window, the oldest messages
are left out, each as a whole; system prompt and question are never cut. A question that does not fit by itself raises
an error.
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
from threadkeeper.chat.context.reductions import NOTHING, Reduction
from threadkeeper.chat.context.refusals import WITHOUT_FILES, doubtful_ids, refused_ids
from threadkeeper.chat.context.steps import NOTICE_STATUS, Step, metadata_of
from threadkeeper.chat.context.tokens import (
    REQUEST_TOKENS,
    TokenCounter,
    counter_for,
    message_tokens,
    most_message_tokens,
)
from threadkeeper.chat.messages import (
    ChatMessage,
    Part,
    TextPart,
    absent_part,
    all_text,
    file_part,
    has_pictures,
    picture_count,
    picture_parts,
    user_message,
)
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

_LEFT_OUT_STATUSES = ("error", NOTICE_STATUS)
_ROLES: dict[str, Any] = {"user_message": "user", "assistant_message": "assistant"}
_LARGEST_RESERVE = 16_384
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
    """The messages to send.

    Attributes:
        messages: system prompt, earlier messages, question.
        left_out: number of older messages that did not fit.
        earlier: number of earlier messages among `messages`.
        pictures: number of the pictures of earlier messages.
        pictures_left_out: whether earlier messages had pictures that the model does not take.
        has_doubtful: whether earlier messages are among them that a server may refuse (see `doubtful_ids`).
    """

    messages: list[ChatMessage]
    left_out: int
    earlier: int = 0
    pictures: int = 0
    pictures_left_out: bool = False
    has_doubtful: bool = False


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
    reduction: Reduction = NOTHING,
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
        reduction: what is left out because the model's server refused it.
        load_attachment: reads the file of an ElementDict; None if it is not stored any more.

    Raises:
        ModelError: of kind "too_long" (values: tokens, window), if the question does not fit.
    """
    window = min(window, reduction.window or window)
    reserve = min(max_tokens or min(window // 4, _LARGEST_RESERVE), window // 2)
    room = _Room(window - reserve, counter_for(model))
    asked = user_message(question.text, _parts(question.attachments, vision=vision))
    system: list[ChatMessage] = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for message in (asked, *system):
        if not await room.takes(message):
            used = await message_tokens([asked, *system], room.counter)
            detail = f"the question alone has {used} tokens, {room.size} of the window of {window} are free for it"
            raise ModelError("too_long", detail, {"tokens": f"{used:,}", "window": f"{room.size:,}"})

    before = _before(steps, question)
    refused, doubtful = refused_ids(before), doubtful_ids(before)
    start = next((at for at, step in enumerate(before) if step["id"] == reduction.before), 0)
    out = refused | doubtful if reduction.doubtful else refused
    earlier = [step for step in before[start:] if _belongs(step) and step["id"] not in out]
    of_step: dict[str, list[Element]] = defaultdict(list)
    for element in elements:
        of_step[element.get("forId") or ""].append(element)

    sees = vision and not reduction.pictures
    pictures_left_out = False
    kept: list[ChatMessage] = []
    kept_ids: list[str] = []
    blank = 0
    for step in reversed(earlier):
        loaded = [] if metadata_of(step).get(WITHOUT_FILES) else of_step[step["id"]]
        message, blinded = await _message(step, loaded, sees, load_attachment)
        if not all_text(message).strip() and not has_pictures(message):
            # Servers refuse a message without content, such as one whose only file was dropped.
            blank += 1
            continue
        if not await room.takes(message):
            # Without this, the conversation could begin with an answer whose question did not fit.
            while kept and kept[-1]["role"] == "assistant":
                kept.pop()
                kept_ids.pop()
                room.give_back()
            break
        kept.append(message)
        kept_ids.append(step["id"])
        pictures_left_out = pictures_left_out or blinded
    return Context(
        [*system, *reversed(kept), asked],
        len(earlier) - len(kept) - blank,
        earlier=len(kept),
        pictures=picture_count(kept),
        pictures_left_out=pictures_left_out,
        has_doubtful=not doubtful.isdisjoint(kept_ids),
    )


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


async def _message(
    step: Step, elements: Sequence[Element], sees: bool, load: LoadAttachment | None
) -> tuple[ChatMessage, bool]:
    """The message of a step, and whether it has pictures that the model does not see."""
    text = step.get("output") or ""
    if _ROLES[step["type"]] == "assistant":
        return {"role": "assistant", "content": _spoken(text)}, False
    parts: list[Part] = []
    blinded = False
    for element in elements:
        loaded = await _loaded(element, load)
        blinded = blinded or (isinstance(loaded, Picture) and not sees)
        parts += _parts([loaded], vision=sees) if isinstance(loaded, Attachment) else [loaded]
    return user_message(text, parts), blinded


async def _loaded(element: Element, load: LoadAttachment | None) -> Attachment | TextPart:
    """The file of an earlier message, or what the model gets in its place."""
    name = element.get("name") or "file"
    try:
        attachment = await load(element) if load else None
    except AttachmentRefused:
        return absent_part(name, "it could not be read")
    except Exception:
        # One old file must not end the conversation; the model learns that the file is missing.
        logger.exception("thread %s: the attachment %s could not be loaded", element.get("threadId"), element.get("id"))
        return absent_part(name, "it could not be loaded")
    return absent_part(name, "it is no longer there") if attachment is None else attachment


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
