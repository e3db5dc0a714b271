"""What a thread says, in the order of the page: questions, thoughts, runs of tools and answers, with their files."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal, TypeAlias

from datalayer.thought import THOUGHT, split

Say: TypeAlias = Callable[..., str]
"""Says a message of the pages' catalogue in the language of the reader, by its key and with its values."""
Kind = Literal["question", "answer", "thought", "tool"]
_KINDS: dict[str, Kind] = {"user_message": "question", "assistant_message": "answer"}


@dataclass(frozen=True, slots=True)
class Said:
    """One step. `name` is the model of an answer, or the name of a tool. `files` are ElementDicts."""

    kind: Kind
    text: str
    at: str
    name: str = ""
    input: str = ""
    files: Sequence[Mapping[str, Any]] = ()


def moment(at: str, zone: tzinfo = UTC) -> str:
    """A stored time in this zone, with its name: the file is read without the page that knows the reader's."""
    try:
        local = datetime.fromisoformat(at).astimezone(zone)
    except (ValueError, OverflowError):
        return at
    return f"{local:%Y-%m-%d %H:%M} {local.tzname()}"


def said_in(thread: Mapping[str, Any]) -> list[Said]:
    """Without runs, which only group others, and without the chat's own notices."""
    files: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for element in thread["elements"]:
        files[element.get("forId") or ""].append(element)
    found: list[Said] = []
    for step in thread["steps"]:
        about, kind = step.get("metadata") or {}, _KINDS.get(step["type"], "tool")
        if step["type"] == "run" or about.get("status") == "notice":
            continue
        text, at, own = step.get("output") or "", step.get("createdAt") or "", files.get(step["id"], ())
        if about.get("status") == THOUGHT:
            found.append(Said("thought", text, at))
        elif kind == "tool":
            found.append(Said("tool", text, at, step.get("name") or "", step.get("input") or "", own))
        elif kind == "answer":
            # An earlier version, or another application, stored the thought within the answer.
            thought, text = split(text)
            if thought:
                found.append(Said("thought", thought, at))
            found.append(Said("answer", text.lstrip() if thought else text, at, about.get("model") or "", "", own))
        else:
            found.append(Said("question", text, at, "", "", own))
    return found
