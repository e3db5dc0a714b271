"""What the last turn of a thread can still be asked for: to go on with its answer, or to write it anew."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from threadkeeper.chat.wording import mark_of
from threadkeeper.conversation.offers import UNFINISHED


class Continued(NamedTuple):
    """The StepDicts of an incomplete answer, its question, and the errors below it that say why it ends."""

    question: dict[str, Any]
    answer: dict[str, Any]
    errors: Sequence[dict[str, Any]]


def question_ids(thread: dict[str, Any]) -> list[str]:
    """The ids of the questions of a ThreadDict, oldest first."""
    return [step["id"] for step in thread["steps"] if step["type"] == "user_message"]


def to_continue(thread: dict[str, Any], answer_id: object) -> Continued | None:
    """What is needed to continue an answer; None if it is not the last message, or complete.

    Args:
        thread: the ThreadDict, in which answers that were cut have their mark (`Conversations.mark`).
        answer_id: of the answer.
    """
    steps: list[dict[str, Any]] = thread["steps"]
    said = [step for step in steps if step["type"].endswith("_message") and not step.get("isError")]
    questions = [step for step in said if step["type"] == "user_message"]
    if not questions or said[-1]["id"] != answer_id or not _is_unfinished(said[-1]):
        return None
    after = steps[steps.index(said[-1]) + 1 :]
    return Continued(questions[-1], said[-1], [step for step in after if step.get("isError")])


def to_write_anew(thread: dict[str, Any], message_id: str) -> dict[str, Any] | None:
    """The StepDict of the last question, if that is this message, or the message is below it; else None."""
    steps: list[dict[str, Any]] = thread["steps"]
    at = max((at for at, step in enumerate(steps) if step["type"] == "user_message"), default=None)
    if at is None or all(step["id"] != message_id for step in steps[at:] if step["type"].endswith("_message")):
        return None
    return steps[at]


def _is_unfinished(answer: dict[str, Any]) -> bool:
    status = (answer.get("metadata") or {}).get("status")
    return answer["type"] == "assistant_message" and (status in UNFINISHED or mark_of(answer["output"]) is not None)
