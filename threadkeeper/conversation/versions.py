"""The versions of a question and its answer: the current one, and those that an edit or a new answer replaced.

The store keeps the texts of edited and removed messages. The times say what belongs together: an answer belongs to the
last question before it that was in the thread then, and to the text that this question had then.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from datalayer import StepVersion
from datalayer.thought import THOUGHT_TYPE
from threadkeeper.chat.context.steps import is_notice
from threadkeeper.chat.wording import is_own_message

_QUESTION, _ANSWER = "user_message", "assistant_message"


@dataclass(frozen=True, slots=True)
class Version:
    """The texts of a question and its answer.

    `answer_id` is the step of the answer, `run_id` the run that it belonged to when it was removed. `thought`: of a
    removed answer; `thought_seconds`: how long it took, if that is known.
    """

    question: str
    answer: str
    answer_id: str = field(default="", compare=False)
    run_id: str | None = field(default=None, compare=False)
    thought: str = field(default="", compare=False)
    thought_seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Versions:
    """All versions of a question, oldest first, and which of them the thread has now.

    `answer_id` is the message under which the current one is shown: an answer, or the error in place of one.
    """

    question_id: str
    answer_id: str
    all: tuple[Version, ...]
    at: int


def versions_of(steps: Sequence[Mapping[str, Any]], earlier: Sequence[StepVersion]) -> dict[str, Versions]:
    """The versions of each question that has more than one, by the question's id.

    Args:
        steps: the StepDicts of the thread, in order.
        earlier: its edited and removed messages, in the order of the changes.
    """
    asked: dict[str, str] = {one.step_id: one.created_at or "" for one in earlier if one.type == _QUESTION}
    left = {one.step_id: one.replaced_at for one in earlier if one.type == _QUESTION and one.change == "removed"}
    for step in steps:
        if step["type"] == _QUESTION:
            asked[step["id"]] = step["createdAt"] or ""
            left.pop(step["id"], None)
    order = sorted(asked, key=lambda step_id: (asked[step_id], step_id))
    moments = [asked[step_id] for step_id in order]
    removed: dict[str, list[StepVersion]] = defaultdict(list)
    thoughts = [one for one in earlier if one.type == THOUGHT_TYPE and one.parent_id]
    made_first: dict[str, str] = {}
    for one in earlier:
        if one.type == _ANSWER and one.change == "removed" and not is_own_message(one.output):
            made_at = made_first.setdefault(one.step_id, one.created_at or "")
            place = bisect_right(moments, made_at) - 1
            while place >= 0 and order[place] in left and left[order[place]] <= made_at:
                place -= 1
            if place >= 0:
                removed[order[place]].append(one)
    found = {}
    for question, answer in _turns(steps):
        own = removed.get(question["id"])
        if own:
            texts = [one for one in earlier if one.step_id == question["id"] and one.change == "edited"]
            made = _versions_of_answers(own, texts, question, thoughts)
            # An answer that was put back has the place of its first time.
            made[answer["id"]] = Version(question["output"], answer["output"], answer["id"])
            if len(made) > 1:
                at = list(made).index(answer["id"])
                found[question["id"]] = Versions(question["id"], answer["id"], tuple(made.values()), at)
    return found


def versions_of_message(
    steps: Sequence[Mapping[str, Any]], earlier: Sequence[StepVersion], message_id: str
) -> Versions | None:
    """The versions of a question by its id, or that of its answer; the current one alone if it has no others.

    None if there is no such question, or it has no answer.
    """
    for question, answer in _turns(steps):
        if message_id in (question["id"], answer["id"]):
            current = Version(question["output"], answer["output"], answer["id"])
            alone = Versions(question["id"], answer["id"], (current,), 0)
            return versions_of(steps, earlier).get(question["id"], alone)
    return None


def _versions_of_answers(
    removed: Sequence[StepVersion],
    texts: Sequence[StepVersion],
    question: Mapping[str, Any],
    thoughts: Sequence[StepVersion],
) -> dict[str, Version]:
    """The versions of the removed answers by their ids, oldest first. An answer may be removed more than once."""
    first: dict[str, StepVersion] = {}
    for one in removed:
        first.setdefault(one.step_id, one)
    last = {one.step_id: one for one in removed}
    return {
        one.step_id: Version(
            _text_at(one.created_at or "", texts, question),
            last[one.step_id].output,
            one.step_id,
            last[one.step_id].parent_id,
            *_thought_of(last[one.step_id], removed, thoughts),
        )
        for one in sorted(first.values(), key=lambda one: (one.created_at or "", one.step_id))
    }


def _thought_of(
    answer: StepVersion, removed: Sequence[StepVersion], thoughts: Sequence[StepVersion]
) -> tuple[str, float | None]:
    """The thought of a removed answer, and its seconds: an answer begins when its thought ends.

    Its thought is in the same run, after the answer before it. What comes after the last answer of a run came when it
    was continued.
    """
    made_at = answer.created_at or ""
    of_run = [one.created_at or "" for one in removed if one.parent_id == answer.parent_id]
    before = max((moment for moment in of_run if moment < made_at), default="")
    is_last = made_at == max(of_run)
    own = [
        one
        for one in thoughts
        if one.parent_id == answer.parent_id
        and before < (one.created_at or "")
        and (is_last or (one.created_at or "") <= made_at)
    ]
    own.sort(key=lambda one: one.created_at or "")
    begun_at = own[0].created_at if own else None
    seconds = None
    if begun_at and begun_at <= made_at:
        seconds = (datetime.fromisoformat(made_at) - datetime.fromisoformat(begun_at)).total_seconds()
    return "\n\n".join(one.output for one in own), seconds


def _turns(steps: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each question with the last message after it that is not a notice."""
    turns: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    question = None
    for step in steps:
        if step["type"] == _QUESTION:
            question = step
        elif step["type"] == _ANSWER and question and not is_notice(step):
            turns[question["id"]] = (question, step)
    return list(turns.values())


def _text_at(moment: str, texts: Sequence[StepVersion], question: Mapping[str, Any]) -> str:
    replaced = (one.output for one in texts if one.replaced_at > moment)
    return next(replaced, question["output"])
