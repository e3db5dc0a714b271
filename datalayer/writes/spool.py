"""The spool: a file in which writes outlive a process that could not store them, one JSON object a line.

It holds what people wrote, so only its owner may read it, and it is on the disk before `append` returns. A line
leaves it when its write is stored, or when the database refuses it: then it goes to a file beside, for a person to
look at. Applying a line twice does no harm, so a crash between the two costs nothing.

Whoever replays takes the file away under another name first, so that a process that is just ending may write into a
new one. Two processes must not replay at the same time.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from datalayer.errors import InvalidRecord
from datalayer.records.chat import Element, Feedback, Step, Thread, User
from datalayer.records.usage import LlmCall, LlmCallPayload, LlmCallWrite
from datalayer.records.writes import (
    ElementDeletion,
    ElementWrite,
    FavoriteMark,
    FileAbandonment,
    FileAnnouncement,
    Recorded,
    StepDeletion,
    StepWrite,
    ThreadCut,
    ThreadDeletion,
    ThreadRename,
    ThreadWrite,
    UserWrite,
    VoteRemoval,
    VoteWrite,
)

KINDS: dict[str, type[Any]] = {
    "step": StepWrite,
    "thread": ThreadWrite,
    "name": ThreadRename,
    "thread deletion": ThreadDeletion,
    "cut": ThreadCut,
    "step deletion": StepDeletion,
    "favorite": FavoriteMark,
    "vote": VoteWrite,
    "unvote": VoteRemoval,
    "element": ElementWrite,
    "element deletion": ElementDeletion,
    "file announcement": FileAnnouncement,
    "file abandonment": FileAbandonment,
    "user": UserWrite,
    "call": LlmCallWrite,
}
_COSTS = ("input_cost", "output_cost", "total_cost")


def _call(**values: Any) -> LlmCall:
    """JSON knows neither fractions that are exact nor tuples."""
    exact = {name: Decimal(values[name]) for name in _COSTS if name in values}
    return LlmCall(**values | exact | {"tags": tuple(values.get("tags", ()))})


_CONTENTS: dict[str, Callable[..., Any]] = {
    "step": Step,
    "thread": Thread,
    "vote": Feedback,
    "element": Element,
    "user": User,
    "call": _call,
    "payload": LlmCallPayload,
}


class Spool:
    """One file and, for what is refused, `<name>.refused<suffix>` beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken = path.with_name(f"{path.stem}.taken{path.suffix}")
        self.refused = path.with_name(f"{path.stem}.refused{path.suffix}")

    def append(self, writes: Iterable[Recorded]) -> None:
        """Keep the writes behind those that are there already.

        Raises:
            OSError: the file cannot be written; some of them may be in it all the same.
        """
        lines = [to_line(one) for one in writes]
        # A replay that took the file away meanwhile may not have seen them.
        while not _append(self.path, lines):
            pass

    def take(self) -> list[str]:
        """What is kept, oldest first, out of the reach of `append`; nothing where there is nothing.

        Raises:
            OSError: the file is there and cannot be read.
        """
        # What an earlier replay did not finish comes first.
        if not self.taken.exists():
            if not self.path.exists():
                return []
            self.path.replace(self.taken)
            _sync_folder(self.path.parent)
        # A line that a crash cut short may end within a character; it is refused, not a reason to stop.
        return [line for line in self.taken.read_text("utf-8", errors="replace").split("\n") if line]

    def refuse(self, line: str) -> None:
        """Set a line aside. It is still among those taken until `keep`."""
        _append(self.refused, [line])

    def keep(self, lines: Sequence[str]) -> None:
        """Of those taken keep these and no others."""
        if not lines:
            self.taken.unlink(missing_ok=True)
            _sync_folder(self.path.parent)
            return
        new = self.path.with_name(f"{self.path.name}.new")
        new.unlink(missing_ok=True)
        _append(new, lines)
        new.replace(self.taken)
        _sync_folder(self.path.parent)


def to_line(write: Recorded) -> str:
    kind = next(name for name, type_ in KINDS.items() if type(write) is type_)
    return json.dumps({"kind": kind, **_given(asdict(write))}, default=_text_of)


def from_line(line: str) -> Recorded:
    """The write that a line says.

    Raises:
        InvalidRecord: the line is none of ours, or not whole.
    """
    try:
        values = json.loads(line)
        kind = values.pop("kind")
        for name, type_ in _CONTENTS.items():
            if values.get(name) is not None:
                values[name] = type_(**values[name])
        if kind == "cut":
            values |= {"keep": tuple(values["keep"]), "late": True}
        write: Recorded = KINDS[kind](**values)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        raise InvalidRecord(f"a line of the spool file is not understood ({type(error).__name__})") from None
    return write


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """A record without the fields that were not given; a None inside of metadata means something, and stays."""
    return values | {
        name: {key: value for key, value in values[name].items() if value is not None and value != ()}
        for name in _CONTENTS
        if values.get(name) is not None
    }


def _text_of(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"a {type(value).__name__} cannot be spooled")


def _append(path: Path, lines: Sequence[str]) -> bool:
    """Whether the lines are, on the disk, in the file that has this name afterwards."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        os.fchmod(file.fileno(), 0o600)
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            # A line that was cut short must not spoil the first of ours.
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.writelines(line.encode() + b"\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
        written = os.fstat(file.fileno())
    _sync_folder(path.parent)
    try:
        return os.path.samestat(written, path.stat())
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
