"""What was read of a document: its text, and what the text does not contain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Refusal = Literal[
    "encrypted",
    "without_text",
    "broken",
    "slow",
    "unsafe",
    "unsupported",
    "too_large",
    "without_sheet",
    "without_column",
    "without_field",
]


class Refused(Exception):
    """The document cannot be read, and the reason why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal: Refusal = refusal


@dataclass
class Reading:
    """The text within the limits, and how many characters there were.

    `left_out` names what is not in the text: the key of a sentence (`part_…`) and the values that fill it. `kept` and
    `total` are numbers of pages or rows, if not all were read.
    """

    text: str = ""
    characters: int = 0
    unit: Literal["pages", "rows"] | None = None
    kept: int = 0
    total: int = 0
    left_out: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refused: Refusal | None = None

    def leave_out(self, what: str, count: int, **values: Any) -> None:
        """Note what is not in the text, if there is any of it."""
        if count:
            self.left_out.append((what, {"count": count, **values}))
