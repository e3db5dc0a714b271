"""The messages of a thread, each with its votes, verdicts, versions, files and cost, in the order of the page.

Votes and model calls can belong to a run; they are shown at the last answer of the run, for which they count. Removed
messages are shown folded in their old place; removed answers can be reviewed like others.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from datalayer.records.review import ReviewThread, StepUsage, StepVersion, ThreadOrigin, Verdict, Vote
from datalayer.thought import THOUGHT, THOUGHT_TYPE, split
from threadkeeper.language.chainlit_texts import STOP_NOTICE
from threadkeeper.web.review.tool_steps import LONGEST_TEXT, ToolSteps, tool_steps

ANSWER, QUESTION = "assistant_message", "user_message"
_MESSAGES = (ANSWER, QUESTION, "system_message")


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """A message and its data. `removed` is set if it was removed because a question was edited."""

    step: Mapping[str, Any]
    tools: ToolSteps = field(default_factory=ToolSteps)
    elements: tuple[Mapping[str, Any], ...] = ()
    votes: tuple[Vote, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    versions: tuple[StepVersion, ...] = ()
    usage: StepUsage | None = None
    better_runs: tuple[ThreadOrigin, ...] = ()
    removed: StepVersion | None = None
    thought: str = ""
    """What the model thought before this answer, shortened; it is not part of the answer."""

    @property
    def id(self) -> str:
        return str(self.step["id"])

    @property
    def is_answer(self) -> bool:
        return bool(self.step["type"] == ANSWER)

    @property
    def model(self) -> str | None:
        """The model that answered, from its calls, else from the step's metadata."""
        named = (self.step.get("metadata") or {}).get("model")
        return (self.usage.model if self.usage else None) or (named if isinstance(named, str) else None)

    @property
    def passages(self) -> list[dict[str, Any]]:
        """What the answer was made from: number, title, page, score, `is_cited`, and the `url` of a cited one.

        A removed answer has no metadata; its elements know what it cites.
        """
        of_elements = {fact["number"]: (fact, one) for one in self.elements if (fact := _passage_of(one))}
        facts = (self.step.get("metadata") or {}).get("passages")
        facts = facts if isinstance(facts, list) else [fact for fact, _ in of_elements.values()]
        return [
            {
                **fact,
                "is_cited": fact["number"] in of_elements,
                "url": of_elements[fact["number"]][1].get("url") if fact["number"] in of_elements else None,
            }
            for fact in facts
        ]

    @property
    def files(self) -> list[Mapping[str, Any]]:
        """The elements that are no passages."""
        return [one for one in self.elements if not _passage_of(one)]

    def verdict_of(self, reviewer: str) -> Verdict | None:
        return next((one for one in self.verdicts if one.reviewer == reviewer), None)

    @property
    def characters(self) -> int:
        """Characters to render: message, thought, earlier versions, tools, votes and verdicts."""
        outputs = (self.step.get("output"), *(one.output for one in self.versions))
        judged = (text for one in self.verdicts for text in (one.better_answer, one.note))
        commented = (one.comment for one in self.votes)
        return (
            self.tools.characters + len(self.thought) + sum(len(text or "") for text in (*outputs, *judged, *commented))
        )

    @property
    def agreement(self) -> float | None:
        """The share of pairs of verdicts with the same label; None with fewer than two verdicts."""
        labels = [one.label for one in self.verdicts]
        pairs = len(labels) * (len(labels) - 1)
        return sum(labels.count(label) - 1 for label in labels) / pairs if pairs else None


@dataclass(frozen=True, slots=True)
class ShownThread:
    """The messages in order. `tools` and `elements` have those that belong to no message."""

    messages: tuple[ShownMessage, ...]
    tools: ToolSteps = field(default_factory=ToolSteps)
    elements: tuple[Mapping[str, Any], ...] = ()

    @property
    def answers(self) -> list[ShownMessage]:
        return [one for one in self.messages if one.is_answer and one.removed is None]


@dataclass
class _Around:
    """The data of the messages, by the id of their step."""

    votes: dict[str, list[Vote]] = field(default_factory=lambda: defaultdict(list))
    verdicts: dict[str, list[Verdict]] = field(default_factory=lambda: defaultdict(list))
    versions: dict[str, list[StepVersion]] = field(default_factory=lambda: defaultdict(list))
    usage: dict[str, StepUsage] = field(default_factory=dict)
    elements: dict[str | None, list[Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    better: dict[str, list[ThreadOrigin]] = field(default_factory=lambda: defaultdict(list))


def _passage_of(element: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an element says of the passage that it shows; empty for others."""
    return (element.get("props") or {}).get("passage") or {}


def shown_thread(found: ReviewThread) -> ShownThread:
    """Lay out a thread for its page."""
    steps: list[dict[str, Any]] = found.thread["steps"]
    there = {step["id"] for step in steps}
    removed = _latest(one for one in found.versions if _is_removed(one) and one.step_id not in there)
    answer_of_run = {one.parent_id: one.step_id for one in removed if one.type == ANSWER and one.parent_id}
    answer_of_run |= {step["parentId"]: step["id"] for step in steps if step["type"] == ANSWER and step.get("parentId")}
    around = _around(found, answer_of_run)
    messages: list[ShownMessage] = []
    tools: list[Mapping[str, Any]] = []
    thoughts: list[Mapping[str, Any]] = []
    for step in steps:
        if step["type"] not in _MESSAGES:
            if step["type"] != "run":
                (thoughts if _is_thought(step) else tools).append(step)
            continue
        if step["type"] != ANSWER:
            # A thought without an answer.
            tools, thoughts = [*tools, *thoughts], []
        if step["type"] != ANSWER and tools and messages:
            # Tools that ran after an answer do not belong to the next question.
            messages.append(ShownMessage({**step, "id": "", "type": "tools", "output": ""}, tool_steps(tools)))
            tools = []
        messages.append(_with_thought(_message(step, tool_steps(tools), around), thoughts))
        tools, thoughts = [], []
    tools += thoughts
    known = there | {one.step_id for one in removed}
    loose = [one for for_id, some in around.elements.items() if for_id not in known for one in some]
    return ShownThread(_with_removed(messages, removed, around), tool_steps(tools), tuple(loose))


def _around(found: ReviewThread, answer_of_run: Mapping[str, str]) -> _Around:
    around = _Around()
    for vote in found.votes:
        around.votes[answer_of_run.get(vote.step_id, vote.step_id)].append(vote)
    for verdict in found.verdicts:
        around.verdicts[verdict.step_id].append(verdict)
    for version in found.versions:
        if version.change == "edited":
            around.versions[version.step_id].append(version)
    for usage in found.usage:
        # Calls with the answer's id are more precise than calls with the id of its run.
        if usage.step_id in answer_of_run:
            around.usage.setdefault(answer_of_run[usage.step_id], usage)
        else:
            around.usage[usage.step_id] = usage
    for element in found.thread["elements"]:
        around.elements[element.get("forId")].append(element)
    for copy in found.copies:
        if copy.better_step_id and copy.original_step_id:
            around.better[copy.original_step_id].append(copy)
    return around


def _is_removed(version: StepVersion) -> bool:
    """Whether it is a removed message to show. Chainlit's stop notice is not, and no thought."""
    is_notice = version.type == ANSWER and version.output == STOP_NOTICE
    return version.change == "removed" and version.type in _MESSAGES and not is_notice


def _latest(versions: Iterable[StepVersion]) -> list[StepVersion]:
    """The last version of each message, in order of time."""
    return sorted({one.step_id: one for one in versions}.values(), key=lambda one: (one.created_at or "", one.step_id))


def _message(
    step: Mapping[str, Any], tools: ToolSteps, around: _Around, removed: StepVersion | None = None
) -> ShownMessage:
    step_id = step["id"]
    return ShownMessage(
        step,
        tools,
        tuple(around.elements.get(step_id, ())),
        tuple(around.votes.get(step_id, ())),
        tuple(around.verdicts.get(step_id, ())),
        tuple(around.versions.get(step_id, ())),
        around.usage.get(step_id),
        tuple(around.better.get(step_id, ())),
        removed,
    )


def _is_thought(step: Mapping[str, Any]) -> bool:
    return step["type"] == THOUGHT_TYPE and (step.get("metadata") or {}).get("status") == THOUGHT


def _with_thought(message: ShownMessage, thoughts: Sequence[Mapping[str, Any]]) -> ShownMessage:
    """The message with its thought, from its own steps and, in answers that were stored with it, from its text."""
    stored, speech = split(message.step.get("output") or "") if message.is_answer else ("", "")
    thought = "\n\n".join(filter(None, (*(str(step.get("output") or "") for step in thoughts), stored)))
    if not thought:
        return message
    step = {**message.step, "output": speech} if stored else message.step
    return replace(message, step=step, thought=thought[:LONGEST_TEXT])


def _with_removed(
    messages: list[ShownMessage], removed: Iterable[StepVersion], around: _Around
) -> tuple[ShownMessage, ...]:
    """Merge removed messages in by time, after messages of the same time."""
    inserted = []
    for version in removed:
        if version.type not in _MESSAGES:
            continue
        step = {
            "id": version.step_id,
            "type": version.type,
            "name": version.name,
            "output": version.output,
            "createdAt": version.created_at,
            "isError": False,
        }
        inserted.append(_with_thought(_message(step, ToolSteps(), around, version), ()))
    return tuple(heapq.merge(messages, inserted, key=lambda one: one.step.get("createdAt") or ""))
