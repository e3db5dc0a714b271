"""The inputs and outputs of an answer's tools, shortened to fit on a page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LONGEST_TEXT = 20_000
"""Characters shown of an input or an output."""
MOST_CHARACTERS = 100_000
"""Characters shown of all steps of one answer; later steps are only counted."""
MOST_STEPS = 200
"""Steps shown of one answer: even an empty step takes space."""
_LONGEST_NAME = 300


@dataclass(frozen=True, slots=True)
class ToolStep:
    """A tool's input (`given`) and output (`gave`)."""

    name: str
    kind: str
    given: str
    gave: str
    is_error: bool

    @property
    def characters(self) -> int:
        return len(self.name) + len(self.given) + len(self.gave)


@dataclass(frozen=True, slots=True)
class ToolSteps:
    """The first steps, and the number of steps that are not shown."""

    shown: tuple[ToolStep, ...] = ()
    left_out: int = 0

    @property
    def count(self) -> int:
        return len(self.shown) + self.left_out

    @property
    def characters(self) -> int:
        return sum(one.characters for one in self.shown)


def tool_steps(steps: Sequence[Mapping[str, Any]]) -> ToolSteps:
    """The tool steps of an answer as the page shows them, in Chainlit's order."""
    shown: list[ToolStep] = []
    characters = 0
    for step in steps[:MOST_STEPS]:
        tool = _tool(step)
        characters += tool.characters
        if characters > MOST_CHARACTERS:
            break
        shown.append(tool)
    return ToolSteps(tuple(shown), len(steps) - len(shown))


def _tool(step: Mapping[str, Any]) -> ToolStep:
    return ToolStep(
        str(step.get("name") or "")[:_LONGEST_NAME],
        str(step["type"]),
        _text(step.get("input")),
        _text(step.get("output")),
        bool(step.get("isError")),
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
    return text[:LONGEST_TEXT]
