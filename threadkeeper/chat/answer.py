"""Streams one answer from the model to the browser and to the store.

A socket message or a write for each token would cost too much. The first text is shown at once. After that, new text
is shown every GATHER_SECONDS, and the whole text so far is stored every KEEP_SECONDS. Both run beside the stream, never
delay it, and do nothing while there is no new text.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from threadkeeper.chat.model import (
    AnswerPart,
    ContentKind,
    Delta,
    Finish,
    Model,
    ModelError,
    ModelRequest,
    NotShown,
    Picture,
    Thought,
    plain_reason,
)
from threadkeeper.chat.pacing import Paced, undisturbed

logger = logging.getLogger(__name__)

GATHER_SECONDS = 0.04
KEEP_SECONDS = 2.0

Status = Literal["complete", "stopped", "cut", "length", "filtered", "error"]

# By finish_reason: OpenAI's, and those of Anthropic, Bedrock, Cohere, Gemini, Mistral and Zhipu.
_STATUSES: Mapping[str, Status] = {
    **dict.fromkeys(("length", "max_tokens", "model_length", "error_limit", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(
        (
            *(
                "content_filter",
                "content_filtered",
                "sensitive",
                "safety",
                "recitation",
                "prohibited_content",
                "refusal",
            ),
            *("blocklist", "spii", "guardrail_intervened", "error_toxic"),
        ),
        "filtered",
    ),
}


class AnswerSink(Protocol):
    async def show(self, text: str) -> None:
        """Show new text in the browser."""

    async def keep(self, text: str, thought: str) -> None:
        """Store the whole text and the whole thought so far."""

    async def show_thought(self, text: str) -> None:
        """Show new thought in the browser, beside the answer."""

    async def keep_thought(self, thought: str) -> None:
        """Store the whole thought so far, while there is no text yet."""

    async def take_back(self, thought: str) -> None:
        """All text that was shown is thought: empty the answer, and show this as the whole thought."""


@dataclass
class Outcome:
    """The state of an answer. It is updated while the answer streams, so it is right at any moment, also after a stop.

    Times are seconds since the request was sent. `pictures` came with the answer; `not_shown`: other contents of it,
    which the chat does not show.
    """

    finish: Finish | None = None
    error: ModelError | None = None
    stopped: bool = False
    first_token_seconds: float | None = None
    seconds: float = 0.0
    pictures: list[Picture] = field(default_factory=list)
    not_shown: list[ContentKind] = field(default_factory=list)
    _parts: list[str] = field(default_factory=list, repr=False)
    _thought: list[str] = field(default_factory=list, repr=False)

    def add(self, event: AnswerPart) -> None:
        match event:
            case Delta():
                self._parts.append(event.text)
            case Picture():
                self.pictures.append(event)
            case NotShown():
                self.not_shown.append(event.kind)
            case Thought():
                self._think(event)

    def _think(self, event: Thought) -> None:
        if event.takes_back:
            self._thought += self._parts
            self._parts.clear()
        self._thought.append(event.text)

    @property
    def text(self) -> str:
        """The answer, without the thought."""
        return _joined(self._parts)

    @property
    def has_text(self) -> bool:
        return bool(self._parts)

    @property
    def has_content(self) -> bool:
        """Whether there is something to show: text or pictures."""
        return bool(self._parts or self.pictures)

    @property
    def thought(self) -> str:
        """The thought as it came; it can end with blank lines."""
        return _joined(self._thought)

    @property
    def status(self) -> Status:
        """The status to store with the answer. "error": nothing arrived; "cut": the answer is not complete."""
        if self.stopped:
            return "stopped"
        if self.error is not None or self.finish is None:
            return "cut" if self.has_content else "error"
        return _STATUSES.get(plain_reason(self.finish.reason), "complete")


async def stream_answer(
    model: Model,
    request: ModelRequest,
    sink: AnswerSink,
    *,
    outcome: Outcome | None = None,
    gather_seconds: float = GATHER_SECONDS,
    keep_seconds: float = KEEP_SECONDS,
    thread_id: str | None = None,
) -> Outcome:
    """Stream one answer into `sink`, and return its outcome.

    Args:
        outcome: is filled and returned; pass one in to read the text after a cancellation.
        gather_seconds: interval in which new text is shown.
        keep_seconds: interval in which the text is stored.
        thread_id: for the log.

    A ModelError is put into the outcome and not raised. After CancelledError, all text that arrived has been shown,
    `outcome.stopped` is set, and the error is raised again. When this returns or raises, no `keep` is running, so the
    caller's own write of the final text is the last one.
    """
    outcome = outcome or Outcome()
    unshown, keep_thought = _Unshown(), _KeepThought(sink, outcome)

    async def show() -> None:
        await unshown.show(sink, outcome)

    async def keep() -> None:
        await sink.keep(outcome.text, outcome.thought)

    async def settle() -> None:
        await shower.stop()
        if unshown:
            await shower.run_once()
        await thought_keeper.stop()
        await keeper.stop()

    shower = Paced(show, gather_seconds, f"showing the answer in thread {thread_id}")
    keeper = Paced(keep, keep_seconds, f"storing the answer in thread {thread_id}")
    thought_keeper = Paced(keep_thought, keep_seconds, f"storing the thought in thread {thread_id}")
    began = time.perf_counter()
    try:
        # Text that would not be shown yet need not be read either.
        paced = replace(request, gather_seconds=min(gather_seconds, GATHER_SECONDS))
        async with aclosing(model.stream(paced)) as events:
            async for event in events:
                if isinstance(event, Finish):
                    outcome.finish = event
                    continue
                if outcome.first_token_seconds is None:
                    outcome.first_token_seconds = time.perf_counter() - began
                outcome.add(event)
                unshown.add(event)
                shower.news()
                (keeper if outcome.has_text else thought_keeper).news()
        _check(outcome, request)
    except ModelError as error:
        outcome.error = error
        logger.warning("thread %s: no complete answer from model %s: %s", thread_id, request.model, error)
    except asyncio.CancelledError:
        outcome.stopped = outcome.finish is None
        raise
    finally:
        outcome.seconds = time.perf_counter() - began
        await undisturbed(settle())
    return outcome


class _Unshown:
    """What has arrived and is not shown yet."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._thought: list[str] = []
        self._is_taken_back = False

    def __bool__(self) -> bool:
        return bool(self._text or self._thought or self._is_taken_back)

    def add(self, event: AnswerPart) -> None:
        if isinstance(event, Delta):
            self._text.append(event.text)
            return
        if not isinstance(event, Thought):
            # Pictures are shown with the end of the answer.
            return
        if event.takes_back:
            self._is_taken_back = True
            self._text.clear()
        self._thought.append(event.text)

    async def show(self, sink: AnswerSink, outcome: Outcome) -> None:
        text, thought, is_taken_back = "".join(self._text), "".join(self._thought), self._is_taken_back
        self._text.clear()
        self._thought.clear()
        self._is_taken_back = False
        if is_taken_back:
            await sink.take_back(outcome.thought)
        elif thought:
            await sink.show_thought(thought)
        if text:
            await sink.show(text)


class _KeepThought:
    """Stores the thought while there is no text yet, but not a short one: that is stored once, with the answer."""

    def __init__(self, sink: AnswerSink, outcome: Outcome) -> None:
        self._sink = sink
        self._outcome = outcome
        self._is_first = True

    async def __call__(self) -> None:
        if not self._is_first and not self._outcome.has_text:
            await self._sink.keep_thought(self._outcome.thought)
        self._is_first = False


def _joined(parts: list[str]) -> str:
    if len(parts) > 1:
        parts[:] = ["".join(parts)]
    return parts[0] if parts else ""


def _check(outcome: Outcome, request: ModelRequest) -> None:
    if outcome.finish is None:
        raise ModelError("cut", "the model's stream ended without a Finish")
    if not outcome.text and not outcome.pictures:
        raise no_answer(outcome.finish, outcome.thought, outcome.not_shown, request.max_tokens)


def no_answer(finish: Finish, thought: str, not_shown: Sequence[ContentKind], max_tokens: int | None) -> ModelError:
    """Why an answer that has come to its end has nothing to show."""
    why = _STATUSES.get(plain_reason(finish.reason))
    if why == "filtered":
        return ModelError("filtered", "the content filter left no text")
    if not_shown:
        detail = f"the answer has no text but {', '.join(not_shown)}"
        return ModelError("not_shown", detail, {"kinds": tuple(not_shown)})
    if thought.strip() and why == "length":
        maximum = "none" if max_tokens is None else max_tokens
        detail = f"the maximum of tokens was used up by thought; MAX_TOKENS of this answer: {maximum}"
        return ModelError("thought_limit", detail, {"max_tokens": max_tokens})
    if thought.strip():
        return ModelError("thought_only", f"only thought and no text, finish_reason {finish.reason}")
    return ModelError("empty", f"the answer has no text, finish_reason {finish.reason}")
