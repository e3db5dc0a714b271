"""Streams one answer from the model to the browser and to the store.

A socket message or a write for each token would cost too much. The first text is shown at once. After that, new text
is shown every GATHER_SECONDS, and the whole text so far is stored every KEEP_SECONDS. Both run beside the stream, never
delay it, and do nothing while there is no new text.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal, Protocol

from threadkeeper.chat.model import Finish, Model, ModelError, ModelRequest
from threadkeeper.chat.pacing import Paced, undisturbed

logger = logging.getLogger(__name__)

GATHER_SECONDS = 0.04
KEEP_SECONDS = 2.0

Status = Literal["complete", "stopped", "cut", "length", "filtered", "error"]

# By finish_reason: OpenAI's, and those of Anthropic, Mistral, Gemini and Zhipu.
_STATUSES: Mapping[str, Status] = {
    **dict.fromkeys(("length", "max_tokens", "model_length"), "length"),
    **dict.fromkeys(("content_filter", "sensitive", "safety", "recitation", "prohibited_content"), "filtered"),
}


class AnswerSink(Protocol):
    async def show(self, text: str) -> None:
        """Show new text in the browser."""

    async def keep(self, text: str) -> None:
        """Store the whole text so far."""


@dataclass
class Outcome:
    """The state of an answer. It is updated while the answer streams, so it is right at any moment, also after a stop.

    Times are seconds since the request was sent.
    """

    finish: Finish | None = None
    error: ModelError | None = None
    stopped: bool = False
    first_token_seconds: float | None = None
    seconds: float = 0.0
    _parts: list[str] = field(default_factory=list, repr=False)

    def add(self, text: str) -> None:
        self._parts.append(text)

    @property
    def text(self) -> str:
        if len(self._parts) > 1:
            self._parts[:] = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    @property
    def status(self) -> Status:
        """The status to store with the answer. "error": no text arrived; "cut": the text is not complete."""
        if self.stopped:
            return "stopped"
        if self.error is not None or self.finish is None:
            return "cut" if self._parts else "error"
        return _STATUSES.get((self.finish.reason or "").lower(), "complete")


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
    unshown: list[str] = []

    async def show() -> None:
        text = "".join(unshown)
        unshown.clear()
        await sink.show(text)

    async def keep() -> None:
        await sink.keep(outcome.text)

    async def settle() -> None:
        await shower.stop()
        if unshown:
            await shower.run_once()
        await keeper.stop()

    shower = Paced(show, gather_seconds, f"showing the answer in thread {thread_id}")
    keeper = Paced(keep, keep_seconds, f"storing the answer in thread {thread_id}")
    began = time.perf_counter()
    try:
        async with aclosing(model.stream(request)) as events:
            async for event in events:
                if isinstance(event, Finish):
                    outcome.finish = event
                    continue
                if outcome.first_token_seconds is None:
                    outcome.first_token_seconds = time.perf_counter() - began
                outcome.add(event.text)
                unshown.append(event.text)
                shower.news()
                keeper.news()
        _check(outcome)
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


def _check(outcome: Outcome) -> None:
    if outcome.finish is None:
        raise ModelError("cut", "the model's stream ended without a Finish")
    if not outcome.text:
        if _STATUSES.get((outcome.finish.reason or "").lower()) == "filtered":
            raise ModelError("filtered", "the content filter left no text")
        raise ModelError("empty", f"the answer has no text, finish_reason {outcome.finish.reason}")
