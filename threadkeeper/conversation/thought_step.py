"""The thought of an answer on the page and in the store: a folded step of its own before the answer.

The store has it as a step of Chainlit's type "llm", named "Thought" in every language. The page shows only steps of
the type "tool", and each under its name; so a thought is shown as one, with the time that it took as its name.
"""

import time
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Self

from datalayer.cleaning import utc_now
from datalayer.thought import THOUGHT, THOUGHT_NAME, THOUGHT_TYPE, split
from threadkeeper.chat.wording import say, unmark_answer
from threadkeeper.language.negotiation import language_for
from threadkeeper.language.numbers import number

_ICON = "brain"


class ThoughtStep:
    """The thought of one answer, from its first word on.

    Attributes:
        text: the whole thought, to be stored.
        shown_text: what the pages have of it; they get it a moment later, or earlier, than the store.
        is_stored: whether the store has the latest state.
    """

    def __init__(self, thread_id: str, parent_id: str | None, created_at: str, began: float) -> None:
        """`began`: when the thought began, on the clock of `time.perf_counter`."""
        self.text = self.shown_text = ""
        self.is_stored = False
        self._id = str(uuid.uuid4())
        self._thread_id, self._parent_id = thread_id, parent_id
        self._created_at = created_at
        self._began = began
        self._end: str | None = None
        self._seconds: float | None = None

    @classmethod
    def ended(cls, thread_id: str, parent_id: str | None, text: str, end: str, seconds: float | None) -> Self:
        """A thought that ended at this moment, after as many seconds."""
        begin = datetime.fromisoformat(end) - timedelta(seconds=seconds or 0)
        step = cls(thread_id, parent_id, begin.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), 0)
        step.set(text)
        step.shown_text, step._end, step._seconds = step.text, end, seconds
        return step

    @property
    def id(self) -> str:
        return self._id

    @property
    def is_ended(self) -> bool:
        return self._end is not None

    def set(self, text: str) -> None:
        text = text.strip()
        if text != self.text:
            self.text, self.is_stored = text, False

    def end(self) -> None:
        """The model has begun to answer, or has ended. Later thought is added, but does not count as time."""
        if self._end is None:
            self._end, self._seconds, self.is_stored = utc_now(), round(time.perf_counter() - self._began, 3), False

    def to_dict(self) -> dict[str, Any]:
        """The StepDict to store."""
        metadata: dict[str, Any] = {"status": THOUGHT, "icon": _ICON}
        if self._seconds is not None:
            metadata["seconds"] = self._seconds
        return {
            "id": self._id,
            "threadId": self._thread_id,
            "parentId": self._parent_id,
            "name": THOUGHT_NAME,
            "type": THOUGHT_TYPE,
            "createdAt": self._created_at,
            "start": self._created_at,
            "end": self._end,
            "input": "",
            "output": self.text,
            "streaming": not self.is_ended,
            "isError": False,
            "showInput": False,
            "defaultOpen": False,
            "autoCollapse": False,
            "metadata": metadata,
        }

    def shown(self, language: str | None) -> dict[str, Any]:
        """The StepDict for the page."""
        return as_shown(self.so_far(), language)

    def so_far(self) -> dict[str, Any]:
        """The StepDict with the text that the pages have."""
        return {**self.to_dict(), "output": self.shown_text}


def is_thought(step: Mapping[str, Any]) -> bool:
    return step.get("type") == THOUGHT_TYPE and (step.get("metadata") or {}).get("status") == THOUGHT


def as_shown(step: Mapping[str, Any], language: str | None) -> dict[str, Any]:
    """The stored StepDict of a thought as the page shows it."""
    seconds = (step.get("metadata") or {}).get("seconds")
    if step.get("streaming"):
        name = say("thought_begun", language)
    elif isinstance(seconds, int | float):
        shown = number(max(seconds, 0.1), language_for(language), digits=1 if seconds < 10 else 0)
        name = say("thought_ended", language, seconds=shown)
    else:
        name = say("thought_cut", language)
    return {**step, "type": "tool", "name": name}


def show_thoughts(steps: list[dict[str, Any]], language: str | None) -> None:
    """Prepare the thoughts among the StepDicts of a thread for the page.

    An answer that was stored with its thought, by an earlier version or another application, is shown as two steps.
    """
    for at in range(len(steps) - 1, -1, -1):
        step = steps[at]
        if is_thought(step):
            steps[at] = as_shown(step, language)
        elif step.get("type") == "assistant_message":
            text = unmark_answer(step.get("output") or "")
            thought, speech = split(text)
            if thought:
                mark = step["output"][len(text) :]
                step["output"] = f"{speech}{mark}".lstrip()
                steps.insert(at, as_shown(_thought_of(step, thought), language))


def _thought_of(answer: Mapping[str, Any], thought: str) -> dict[str, Any]:
    return {
        **dict.fromkeys(("input", "feedback", "generation", "language"), None),
        **{name: answer.get(name) for name in ("threadId", "parentId", "createdAt")},
        "id": str(uuid.uuid5(uuid.UUID(answer["id"]), THOUGHT)),
        "type": THOUGHT_TYPE,
        "output": thought,
        "streaming": False,
        "isError": False,
        "defaultOpen": False,
        "metadata": {"status": THOUGHT, "icon": _ICON},
    }
