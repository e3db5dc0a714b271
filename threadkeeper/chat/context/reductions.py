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
UNNAMED: frozenset[ErrorKind] = frozenset({"refused", "filtered"})
"""Refusals that do not say which message they are about."""
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
        spans: the messages from one id to another, both included.
        window: tokens that question and answer may have together, if fewer than otherwise known.
    """

    pictures: bool = False
    doubtful: bool = False
    before: str | None = None
    spans: tuple[tuple[str, str], ...] = ()
    window: int | None = None

    @property
    def leaves_messages_out(self) -> bool:
        """Whether whole messages are left out because the server refused them."""
        return self.doubtful or self.before is not None or bool(self.spans)

    def facts(self) -> dict[str, Any]:
        """What is stored with the answer; empty if nothing was left out."""
        spans = [list(span) for span in self.spans]
        facts = {"pictures": self.pictures, "doubtful": self.doubtful, "before": self.before, "spans": spans,
                 "window": self.window}  # fmt: skip
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
                spans=_spans(facts.get("spans")),
                window=window if isinstance(window, int) and window > 0 else None,
            )
    return NOTHING


def _spans(stored: object) -> tuple[tuple[str, str], ...]:
    pairs = [span for span in stored if isinstance(span, list)] if isinstance(stored, list) else []
    return tuple((span[0], span[1]) for span in pairs if [type(one) for one in span] == [str, str])


def left_out_ids(steps: Sequence[Step], reduction: Reduction, question_id: str | None) -> set[str]:
    """The ids of the steps that a reduction leaves out by their place in the thread.

    Args:
        steps: StepDicts before the question, oldest first.
        question_id: the question.
    """
    places = {step["id"]: at for at, step in enumerate(steps)}
    is_alone = reduction.before is not None and reduction.before == question_id
    before = len(steps) if is_alone else places.get(reduction.before or "", 0)
    ids = [step["id"] for step in steps[:before]]
    for first, last in reduction.spans:
        if first in places and last in places:
            ids += [step["id"] for step in steps[places[first] : places[last] + 1]]
    return set(ids)


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
    has_own_pictures: bool,
) -> Reduction | None:
    """What to leave out of the next request; None if no kind of message explains the refusal.

    Args:
        error: the refusal of a request that left out `now`.
        now: what that request left out.
        question_id: the question.
        window: tokens that question and answer were allowed.
        earlier: number of earlier messages in that request.
        earlier_pictures: number of their pictures.
        has_doubtful: whether messages are among them that a server may refuse (see `doubtful_ids`).
        has_own_pictures: whether the question has pictures.
    """
    kind = error.kind
    is_of_pictures = kind in _OF_PICTURES
    may_be_pictures = earlier_pictures > 0 and not now.pictures and (kind in REFUSED or _hides_pictures(error))
    # A request that no server got says nothing about the thread.
    is_of_thread = kind in {*UNNAMED, *_CAN_BE_CAUSED} and error.values.get("is_sent") is not False
    may_be_doubtful = has_doubtful and not now.doubtful and is_of_thread
    less: Reduction | None = None
    if not earlier or (is_of_pictures and has_own_pictures):
        less = None
    elif may_be_pictures:
        less = replace(now, pictures=True)
    elif kind == "too_long":
        less = _shorter(error, now, window, question_id)
    elif may_be_doubtful:
        less = replace(now, doubtful=True)
    return less


def searches(
    error: ModelError, now: Reduction, *, question_id: str, earlier: Sequence[Step], proven: bool
) -> list[Reduction]:
    """What to leave out, one after the other, to find the messages that a server refuses without naming them.

    If the model has answered all but its own newest answer, that one is left out. Otherwise it is one half of the
    thread, and then the other. The question alone is the last: if it is refused as well, it is the cause.

    Args:
        error: the refusal of a request that left out `now`.
        now: what that request left out.
        question_id: the question.
        earlier: the StepDicts of the earlier messages in that request, oldest first.
        proven: see `is_proven`.
    """
    breaks_server = now.doubtful and _fails_completely(error)
    if not earlier or not (error.kind in UNNAMED or breaks_server):
        return []
    alone = replace(now, before=question_id)
    if proven or breaks_server:
        newest = next((step["id"] for step in reversed(earlier) if step["type"] == "assistant_message"), None)
        return [*([] if newest is None else [_without(now, newest, newest)]), alone]
    questions = [at for at, step in enumerate(earlier) if step["type"] == "user_message"]
    middle = questions[len(questions) // 2] if questions else 0
    if not middle:
        return [alone]
    older, newer = earlier[middle]["id"], earlier[-1]["id"]
    return [replace(now, before=older), _without(now, older, newer), alone]


def _without(now: Reduction, first: str, last: str) -> Reduction:
    return replace(now, spans=(*now.spans, (first, last)))


def _hides_pictures(error: ModelError) -> bool:
    """Some servers refuse pictures with a failure, or as if there were no such model."""
    return error.kind == "not_found" or _fails_completely(error)


def _fails_completely(error: ModelError) -> bool:
    return error.kind == "server" and error.values.get("status") == _FAILED_COMPLETELY


def _shorter(error: ModelError, now: Reduction, window: int, question_id: str) -> Reduction:
    limit = error.values.get("limit")
    named = limit if isinstance(limit, int) else None
    if named is not None and named < window:
        return replace(now, window=max(1, int(named * _SAFE_SHARE)))
    # Once more than the server named, because it may count far more tokens than we do.
    if now.window is None or (named is not None and window > named * _SAFE_SHARE / 2):
        return replace(now, window=max(1, window // 2))
    return replace(now, before=question_id)
