"""What servers refused in a stored thread. The model does not get it again by itself.

The question says how it failed, in its metadata: every replica and every later day reads the same. Threads from before
this mark have only the error message under the question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from datalayer.thought import speech_of
from threadkeeper.chat.context.steps import Step, is_notice, metadata_of
from threadkeeper.chat.wording import unmark_answer

FAILED = "failed"
"""Metadata key of a question without a complete answer: the kind of the error, or ATTACHMENT."""
ATTACHMENT = "attachment"
"""A file of the question could not be taken, so no server was asked."""
WITHOUT_FILES = "without_files"
"""Metadata key of a question whose files are not sent, because they were refused and the user dropped them."""
REFUSED: frozenset[str] = frozenset(
    {"refused", "filtered", "too_long", "no_pictures", "picture_refused", ATTACHMENT},
)
"""After these errors the same question fails again."""
_KEPT_OUT = REFUSED | {"timeout", "over_limit"}
"""Questions that failed in this way are not sent with the next one, because that one would wait or fail as well. After
other errors, as when the server cannot be reached, the next question is sent with them."""


def refused_ids(steps: Sequence[Step]) -> set[str]:
    """The ids of the questions that are not sent again by themselves, and of the broken answers to them.

    Args:
        steps: StepDicts, oldest first.
    """
    ids: set[str] = set()
    for question, followers in _exchanges(steps):
        answers = [step for step in followers if _is_answer(step)]
        kind = metadata_of(question).get(FAILED)
        is_answered = any(metadata_of(step).get("status") in (None, "complete", "length") for step in answers)
        if kind is None:
            is_refused = not answers and any(_is_error(step) for step in followers)
        else:
            is_refused = kind in _KEPT_OUT and not is_answered
        if is_refused:
            ids.update([question["id"], *(step["id"] for step in answers)])
    return ids


def doubtful_ids(steps: Sequence[Step]) -> set[str]:
    """The ids of the messages that a server may refuse: questions without an answer, and answers that its filter ended,
    with their questions.
    """
    ids: set[str] = set()
    for question, followers in _exchanges(steps):
        answers = [step for step in followers if _is_answer(step)]
        if not answers or any(metadata_of(step).get("status") == "filtered" for step in answers):
            ids.update([question["id"], *(step["id"] for step in answers)])
    return ids


def _exchanges(steps: Sequence[Step]) -> Iterator[tuple[Step, list[Step]]]:
    """Each question with the messages up to the next one."""
    question: Step | None = None
    followers: list[Step] = []
    for step in steps:
        if step.get("type") == "user_message":
            if question is not None:
                yield question, followers
            question, followers = step, []
        elif step.get("type") == "assistant_message":
            followers.append(step)
    if question is not None:
        yield question, followers


def _is_error(step: Step) -> bool:
    return bool(step.get("isError")) or metadata_of(step).get("status") == "error"


def _is_answer(step: Step) -> bool:
    if _is_error(step) or is_notice(step):
        return False
    return bool(speech_of(unmark_answer(step.get("output") or "")).strip())
