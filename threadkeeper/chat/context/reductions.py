"""What is left out of a context that a server refused, until it accepts the question.

A thread can contain what today's model does not take: pictures, a text that its filter refuses, more tokens than its
window. The question is then asked again with less of the thread. What was left out is stored with the answer, so that
the next question to the same model begins with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from threadkeeper.chat.context.refusals import REFUSED, doubtful_ids, refused_ids
from threadkeeper.chat.context.steps import Step, metadata_of
from threadkeeper.chat.model import ErrorKind, ModelError

LEFT_OUT = "left_out"
"""Metadata key of an answer: what its context left out."""

_OF_PICTURES = ("no_pictures", "picture_refused")
_FAILED_COMPLETELY = 500
_THREAD_REFUSED: frozenset[ErrorKind] = frozenset({"refused", "filtered"})
# A message can break a server, or leave it without words.
_CAN_BE_CAUSED: frozenset[ErrorKind] = frozenset({"server", "cut", "unreachable", "empty"})
# Servers count tokens differently.
_SAFE_SHARE = 0.9


@dataclass(frozen=True)
class Reduction:
    """What a context leaves out of the earlier messages.

    Attributes:
        pictures: their pictures.
        doubtful: the messages that a server may refuse (see `doubtful_ids`).
        before: all messages before the question with this id.
        window: tokens that question and answer may have together, if fewer than otherwise known.
    """

    pictures: bool = False
    doubtful: bool = False
    before: str | None = None
    window: int | None = None

    def facts(self) -> dict[str, Any]:
        """What is stored with the answer; empty if nothing was left out."""
        facts = {"pictures": self.pictures, "doubtful": self.doubtful, "before": self.before, "window": self.window}
        return {LEFT_OUT: left_out} if (left_out := {key: fact for key, fact in facts.items() if fact}) else {}


NOTHING = Reduction()


def known_reduction(steps: Sequence[Step], model: str) -> Reduction:
    """What the newest answer of this model in the thread had to leave out."""
    for step in reversed(steps):
        metadata = metadata_of(step)
        if step.get("type") == "assistant_message" and metadata.get("model") == model and not step.get("isError"):
            facts = metadata.get(LEFT_OUT)
            if not isinstance(facts, Mapping):
                return NOTHING
            before, window = facts.get("before"), facts.get("window")
            return Reduction(
                pictures=facts.get("pictures") is True,
                doubtful=facts.get("doubtful") is True,
                before=before if isinstance(before, str) else None,
                window=window if isinstance(window, int) and window > 0 else None,
            )
    return NOTHING


def is_proven(steps: Sequence[Step], model: str) -> bool:
    """Whether this model has answered with all of these messages in its context, so that they cannot be the cause."""
    doubtful = refused_ids(steps) | doubtful_ids(steps)
    for step in reversed(steps):
        if step["id"] in doubtful:
            return False
        metadata = metadata_of(step)
        if step.get("type") == "assistant_message" and not step.get("isError") and metadata.get("status") != "notice":
            return metadata.get("model") == model and metadata.get("status") in ("complete", "length")
    return True


def next_reduction(
    error: ModelError,
    now: Reduction,
    *,
    question_id: str,
    window: int,
    earlier: int,
    earlier_pictures: int,
    has_doubtful: bool,
    has_own_files: bool,
    has_own_pictures: bool,
    proven: bool,
) -> Reduction | None:
    """What to leave out of the next request; None if the refusal concerns the question itself, or will pass.

    Args:
        error: the refusal of a request that left out `now`.
        now: what that request left out.
        question_id: the question.
        window: tokens that question and answer were allowed.
        earlier: number of earlier messages in that request.
        earlier_pictures: number of their pictures.
        has_doubtful: whether messages are among them that a server may refuse (see `doubtful_ids`).
        has_own_files: whether the question has files.
        has_own_pictures: whether there are pictures among those.
        proven: see `is_proven`.
    """
    kind = error.kind
    is_of_pictures = kind in _OF_PICTURES
    may_be_pictures = earlier_pictures > 0 and not now.pictures and (kind in REFUSED or _hides_pictures(error))
    may_be_doubtful = has_doubtful and not now.doubtful and kind in {*_THREAD_REFUSED, *_CAN_BE_CAUSED}
    concerns_question = (is_of_pictures and has_own_pictures) or (
        proven and (kind == "filtered" or (kind == "refused" and has_own_files))
    )
    less: Reduction | None = None
    if not earlier or concerns_question:
        less = None
    elif may_be_pictures:
        less = replace(now, pictures=True)
    elif kind == "too_long":
        less = _shorter(error, now, window, question_id)
    elif may_be_doubtful:
        less = replace(now, doubtful=True)
    elif kind in _THREAD_REFUSED:
        less = replace(now, before=question_id)
    return less


def _hides_pictures(error: ModelError) -> bool:
    """Some servers refuse pictures with a failure, or as if there were no such model."""
    return error.kind == "not_found" or (error.kind == "server" and error.values.get("status") == _FAILED_COMPLETELY)


def _shorter(error: ModelError, now: Reduction, window: int, question_id: str) -> Reduction:
    limit = error.values.get("limit")
    named = limit if isinstance(limit, int) else None
    if named is not None and named < window:
        return replace(now, window=max(1, int(named * _SAFE_SHARE)))
    # Once more than the server named, because it may count far more tokens than we do.
    if now.window is None or (named is not None and window > named * _SAFE_SHARE / 2):
        return replace(now, window=max(1, window // 2))
    return replace(now, before=question_id)
