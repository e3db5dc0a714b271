"""The differences between two versions of an assistant, field by field and line by line."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from datalayer.records.assistants import Assistant
from threadkeeper.web.assistants.fields import LINES, NUMBERS, TEXTS, filled

FIELDS = (*TEXTS, *LINES, *NUMBERS, "stop", "logit_bias")
_KINDS = {"  ": "same", "- ": "removed", "+ ": "added"}
_AROUND = 2
_MOST_LINES = 2_000


@dataclass(frozen=True, slots=True)
class Line:
    """A line: "same", "removed" or "added"; "gap" stands for lines that are the same and not shown."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """A field that differs."""

    field: str
    lines: Sequence[Line]


def changes(old: Assistant, new: Assistant) -> list[Change]:
    """The fields that differ, in the order of the form."""
    before, after = (filled(one.settings, one.access, one.owner) for one in (old, new))
    found = [Change(name, _lines(before[name], after[name])) for name in FIELDS if before[name] != after[name]]
    if old.picture != new.picture:
        pictures = [Line("removed", old.picture[:12])] if old.picture else []
        pictures += [Line("added", new.picture[:12])] if new.picture else []
        found.append(Change("picture", pictures))
    return found


def _lines(old: str, new: str) -> list[Line]:
    before, after = (text.split("\n")[:_MOST_LINES] if text else [] for text in (old, new))
    all_lines = [
        Line(_KINDS[line[:2]], line[2:]) for line in difflib.ndiff(before, after, charjunk=None) if line[:2] in _KINDS
    ]
    near = {
        place
        for at, line in enumerate(all_lines)
        if line.kind != "same"
        for place in range(at - _AROUND, at + _AROUND + 1)
    }
    shown: list[Line] = []
    for at, line in enumerate(all_lines):
        if at in near:
            shown.append(line)
        elif not shown or shown[-1].kind != "gap":
            shown.append(Line("gap", "…"))
    return shown
