"""Builds the context for the model from the stored thread: the conversation so far, then the question.

The stored thread is the only memory, so a resumed thread has the same context as one that never stopped. Tool steps,
errors, notices and refused questions are left out. If the thread is longer than the model's window, the files of the
oldest messages are left out, and then these messages; the model is told so. System prompt and question are never cut. A
question that does not fit by itself raises an error.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from datalayer.thought import speech_of
from threadkeeper.chat.attachments.reader import Attachment
from threadkeeper.chat.context.earlier_files import EarlierFiles, Element, LoadAttachment, parts_of
from threadkeeper.chat.context.reductions import NOTHING, Reduction, left_out_ids
from threadkeeper.chat.context.refusals import doubtful_ids, refused_ids
from threadkeeper.chat.context.steps import NOTICE_STATUS, Step
from threadkeeper.chat.context.tokens import (
    REQUEST_TOKENS,
    TokenCounter,
    counter_for,
    message_tokens,
    most_message_tokens,
)
from threadkeeper.chat.messages import (
    ChatMessage,
    all_text,
    has_pictures,
    picture_count,
    user_message,
)
from threadkeeper.chat.model import ModelError
from threadkeeper.chat.wording import unmark_answer
from threadkeeper.language.chainlit_texts import STOP_NOTICE

DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful assistant. Answer in the language of the user, to the point, in Markdown where it helps. "
    "Say so when you do not know something."
)
CONTINUE_PROMPT = (
    "Your last answer was interrupted. Continue it exactly where it ends. "
    "Do not repeat any of it, and add no introduction."
)
"""Sent in place of a question to continue an answer; it is not stored."""
MESSAGES_ABSENT = (
    "[Some earlier messages of this conversation are left out of this request. "
    "If the user refers to them, say that you do not see them.]"
)
"""Tells the model that it does not get the whole thread. Stands under the system prompt."""
ANSWER_ABSENT = "[This answer is left out of this request.]"

_LEFT_OUT_STATUSES = ("error", NOTICE_STATUS)
_ROLES: dict[str, Any] = {"user_message": "user", "assistant_message": "assistant"}
_LARGEST_RESERVE = 16_384


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
        earlier_ids: the steps of the earlier messages among `messages`, without those that are only marked as left out.
        pictures: number of the pictures of earlier messages.
        pictures_left_out: whether earlier messages had pictures that the model does not take.
        files_left_out: whether earlier messages had files that did not fit.
        has_doubtful: whether earlier messages are among them that a server may refuse (see `doubtful_ids`).
    """

    messages: list[ChatMessage]
    left_out: int
    earlier_ids: frozenset[str] = frozenset()
    pictures: int = 0
    pictures_left_out: bool = False
    files_left_out: bool = False
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
    asked = user_message(question.text, parts_of(question.attachments, sees=vision))
    system: list[ChatMessage] = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for message in (asked, *system):
        if not await room.takes(message):
            used = await message_tokens([asked, *system], room.counter)
            detail = f"the question alone has {used} tokens, {room.size} of the window of {window} are free for it"
            raise ModelError("too_long", detail, {"tokens": used, "window": room.size})

    before = _before(steps, question)
    refused, doubtful = refused_ids(before), doubtful_ids(before)
    absent = left_out_ids(before, reduction, question.step_id) | (doubtful if reduction.doubtful else set())
    said = [step for step in before if _belongs(step) and step["id"] not in refused]
    earlier = [step for at, step in enumerate(said) if step["id"] not in absent or _is_lone_answer(said, at, absent)]
    files = EarlierFiles(elements, sees=vision and not reduction.pictures, load=load_attachment)
    kept: list[tuple[Step, ChatMessage]] = []
    blank = 0
    for step in reversed(earlier):
        message = await _message(step, files, is_absent=step["id"] in absent)
        if not all_text(message).strip() and not has_pictures(message):
            # Servers refuse a message without content, such as one whose only file was dropped.
            blank += 1
            continue
        fits = await room.takes(message)
        if not fits and files.leave_out(step):
            message = await _message(step, files, is_absent=False)
            fits = await room.takes(message)
        if not fits:
            break
        kept.append((step, message))
    note: ChatMessage = {"role": "system" if system_prompt else "user", "content": MESSAGES_ABSENT}
    has_note = len(kept) + blank < len(said) and await _takes_note(room, kept, note)
    ids = frozenset(step["id"] for step, _ in kept) - absent
    messages = [message for _, message in reversed(kept)]
    return Context(
        [*system, *([note] if has_note else []), *messages, asked],
        len(earlier) - len(kept) - blank,
        earlier_ids=ids,
        pictures=picture_count(messages),
        pictures_left_out=not ids.isdisjoint(files.unseen),
        files_left_out=not ids.isdisjoint(files.left_out),
        has_doubtful=not ids.isdisjoint(doubtful),
    )


async def _takes_note(room: _Room, kept: list[tuple[Step, ChatMessage]], note: ChatMessage) -> bool:
    """Take the note about what is left out; the oldest messages are dropped until it fits. False if it cannot fit.

    The conversation must not begin with an answer whose question did not fit.
    """
    while kept:
        if kept[-1][1]["role"] != "assistant" and await room.takes(note):
            return True
        kept.pop()
        room.give_back()
    return await room.takes(note)


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


def _is_lone_answer(said: Sequence[Step], at: int, absent: Container[str]) -> bool:
    """Whether the question of an answer that is left out stays, so that the answer needs something in its place."""
    return _ROLES[said[at]["type"]] == "assistant" and at > 0 and said[at - 1]["id"] not in absent


async def _message(step: Step, files: EarlierFiles, *, is_absent: bool) -> ChatMessage:
    if is_absent:
        return {"role": "assistant", "content": ANSWER_ABSENT}
    text = step.get("output") or ""
    if _ROLES[step["type"]] == "assistant":
        return {"role": "assistant", "content": _spoken(text)}
    return user_message(text, await files.parts_of(step))
