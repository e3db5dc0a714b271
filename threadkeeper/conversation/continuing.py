"""What the last turn of a thread can still be asked for: to go on with its answer, or to write it anew."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from datalayer import StepVersion
from threadkeeper.chat.context.steps import is_notice
from threadkeeper.chat.wording import mark_of
from threadkeeper.conversation.offers import UNFINISHED
from threadkeeper.conversation.reply import text_to_continue


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


def text_print(answer: Mapping[str, Any]) -> str:
    """A digest of the text of an answer, without its mark."""
    return hashlib.sha256(text_to_continue(answer).encode()).hexdigest()


def was_continued(answer: Mapping[str, Any], before: str) -> bool:
    """Whether an answer that had this `text_print` was continued to an end.

    It was not while it is streamed, or if its process was stopped or died.
    """
    status = (answer.get("metadata") or {}).get("status")
    return not answer.get("streaming") and status != "cut" and text_print(answer) != before


def to_write_anew(thread: dict[str, Any], message_id: str) -> dict[str, Any] | None:
    """The StepDict of the last question, if that is this message, or the message is below it; else None."""
    steps: list[dict[str, Any]] = thread["steps"]
    at = max((at for at, step in enumerate(steps) if step["type"] == "user_message"), default=None)
    if at is None or all(step["id"] != message_id for step in steps[at:] if step["type"].endswith("_message")):
        return None
    return steps[at]


def whose_answer_was_deleted(
    thread: dict[str, Any], earlier: Sequence[StepVersion], message_id: str
) -> dict[str, Any] | None:
    """The StepDict of the last question, if it has no answer, and this one of it was deleted; else None.

    Args:
        thread: the ThreadDict.
        earlier: the edited and removed messages of the thread.
        message_id: of the answer, or of the error in place of one.
    """
    said = [step for step in thread["steps"] if step["type"].endswith("_message") and not is_notice(step)]
    if not said or said[-1]["type"] != "user_message":
        return None
    asked_at = said[-1]["createdAt"] or ""
    removed = [one for one in earlier if one.step_id == message_id and one.type == "assistant_message"]
    return said[-1] if any((one.created_at or "") > asked_at for one in removed) else None


def _is_unfinished(answer: dict[str, Any]) -> bool:
    status = (answer.get("metadata") or {}).get("status")
    return answer["type"] == "assistant_message" and (status in UNFINISHED or mark_of(answer["output"]) is not None)
