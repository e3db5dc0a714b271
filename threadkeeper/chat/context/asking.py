"""One question with its context. If the server refuses it because of the thread, it is asked again with less of it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from threadkeeper.chat.context.history import Context
from threadkeeper.chat.context.reductions import (
    UNNAMED,
    Reduction,
    is_proven,
    known_reduction,
    next_reduction,
    searches,
)
from threadkeeper.chat.messages import has_pictures
from threadkeeper.chat.model import ModelError

logger = logging.getLogger(__name__)

CONTEXT = "context"
"""Metadata key of an answer: the model's `window` in tokens, and how many older messages were `left_out`."""
_MOST_REDUCTIONS = 6

Steps = Sequence[Mapping[str, Any]]


class Asking:
    """The context of a question to one model, and what it leaves out.

    Args:
        build: builds the context from the steps before the question and from what is left out.
        steps: StepDicts before the question, oldest first.
        model: the model.
        question_id: id of the question.
        window: tokens that question and answer may have together.

    Attributes:
        model: the model.
        reduction: what the context leaves out.
        has_changed: whether it leaves out more than at the begin.
    """

    context: Context

    def __init__(
        self,
        build: Callable[[Steps, Reduction], Awaitable[Context]],
        steps: Steps,
        *,
        model: str,
        question_id: str,
        window: int,
    ) -> None:
        self._build = build
        self._steps = steps
        self._question_id, self._window = question_id, window
        self.model = model
        self._left = _MOST_REDUCTIONS
        self.reduction = known_reduction(steps, model)
        self._searches: Iterator[Reduction] | None = None
        self.has_changed = False

    def facts(self) -> dict[str, Any]:
        """What is stored with the answer: what was left out, and the window, for the line under the answer."""
        window = {"window": self.reduction.window or self._window, "left_out": self.context.left_out}
        return {**self.reduction.facts(), CONTEXT: window}

    async def begin(self) -> None:
        """Build the first context. Raises ModelError of kind "too_long"."""
        try:
            self.context = await self._build(self._steps, self.reduction)
        except ModelError:
            if self.reduction.window is None:
                raise
            # That window was found out with other words, and leaves room for an answer. The server decides.
            self.reduction = replace(self.reduction, window=None)
            self.context = await self._build(self._steps, self.reduction)

    async def reduce(self, error: ModelError) -> bool:
        """Build a context with less of the thread. False if the refusal is final."""
        less = self._next(error)
        if less is None or not self._left:
            return False
        self._left -= 1
        try:
            self.context = await self._build(self._steps, less)
        except ModelError as too_long:
            logger.info("the question alone does not fit: %s", too_long)
            return False
        logger.warning("model %s refused the context (%s); asking again with %s", self.model, error, less)
        self.reduction, self.has_changed = less, True
        return True

    def _next(self, error: ModelError) -> Reduction | None:
        if self._searches is None:
            proven = is_proven(self._steps, self.model)
            # What the model has answered with is not the cause, unless it names it.
            less = None if proven and error.kind in UNNAMED else self._of_a_kind(error)
            if less is not None:
                return less
            earlier = [step for step in self._steps if step["id"] in self.context.earlier_ids]
            self._searches = iter(
                searches(error, self.reduction, question_id=self._question_id, earlier=earlier, proven=proven)
            )
        return next(self._searches, None)

    def _of_a_kind(self, error: ModelError) -> Reduction | None:
        return next_reduction(
            error,
            self.reduction,
            question_id=self._question_id,
            window=min(self._window, self.reduction.window or self._window),
            earlier=len(self.context.earlier_ids),
            earlier_pictures=self.context.pictures,
            has_doubtful=self.context.has_doubtful,
            has_own_pictures=has_pictures(self.context.messages[-1]),
        )
