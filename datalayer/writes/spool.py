"""The spool: a file for writes that a process could not store before its end, one JSON object a line.

It holds users' texts, so only its owner may read it, and it is on the disk before `append` returns. A line leaves it
when its write is stored, or when the database refuses the write: then the line goes to a second file, for a person to
look at. Applying a line twice, or after a newer state (`overtaken`), does no harm: a crash in between loses nothing.

A replay first renames the file, so that a process that is just ending can write a new one. Two processes must not
replay at the same time.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
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
    """A call from JSON, which has neither exact fractions nor tuples."""
    exact = {name: Decimal(values[name]) for name in _COSTS if name in values}
    return LlmCall(**values | exact | {"tags": tuple(values.get("tags", ()))})


def _payload(**values: Any) -> LlmCallPayload:
    """A call that failed has no response, so its line has none either."""
    return LlmCallPayload(**{"messages": None, "response": None} | values)


_CONTENTS: dict[str, Callable[..., Any]] = {
    "step": Step,
    "thread": Thread,
    "vote": Feedback,
    "element": Element,
    "user": User,
    "call": _call,
    "payload": _payload,
}
_RECORDS: tuple[type[Any], ...] = (*KINDS.values(), Step, Thread, Feedback, Element, User, LlmCall, LlmCallPayload)
_FIELDS = {type_: tuple(item.name for item in fields(type_)) for type_ in _RECORDS}
_KIND_OF = {type_: kind for kind, type_ in KINDS.items()}


class Spool:
    """One file and, for refused writes, `<name>.refused<suffix>` beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken = path.with_name(f"{path.stem}.taken{path.suffix}")
        self.refused = path.with_name(f"{path.stem}.refused{path.suffix}")

    def append(self, writes: Iterable[Recorded]) -> None:
        """Append the writes to the file.

        Raises:
            OSError: the file cannot be written; some of the writes may be in it.
        """
        lines = [to_line(one) for one in writes]
        # A replay may have renamed the file meanwhile, and not have seen them.
        while not _append(self.path, lines):
            pass

    def take(self) -> list[str]:
        """The lines of the file, oldest first; `append` does not write to it any more.

        Raises:
            OSError: the file exists and cannot be read.
        """
        # Lines that an earlier replay left come first.
        if not self.taken.exists():
            if not self.path.exists():
                return []
            self.path.replace(self.taken)
            _sync_folder(self.path.parent)
        # A crash may have cut the last line within a character; such a line is refused, and the others are replayed.
        return [line for line in self.taken.read_text("utf-8", errors="replace").split("\n") if line]

    def refuse(self, line: str) -> None:
        """Copy a line to the file of refused writes. It stays among the taken lines until `keep`."""
        _append(self.refused, [line])

    def keep(self, lines: Sequence[str]) -> None:
        """Keep these of the taken lines and drop the others."""
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
    """The write as one line of JSON. None inside metadata is significant and is kept."""
    values: dict[str, Any] = {"kind": _KIND_OF[type(write)]}
    for name in _FIELDS[type(write)]:
        value = getattr(write, name)
        values[name] = _given(value) if is_dataclass(value) else value
    return json.dumps(values, default=_text_of)


def from_line(line: str) -> Recorded:
    """The write of a line.

    Raises:
        InvalidRecord: the line is damaged, or of a version that this one does not know.
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
        raise InvalidRecord(f"a line of the spool file cannot be read ({type(error).__name__})") from None
    return write


def _given(record: Any) -> dict[str, Any]:
    """The fields of a record that have a value. Nothing is copied, as `asdict` would do."""
    values = ((name, getattr(record, name)) for name in _FIELDS[type(record)])
    return {name: value for name, value in values if value is not None and value != ()}


def _text_of(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"a {type(value).__name__} cannot be spooled")


def _append(path: Path, lines: Sequence[str]) -> bool:
    """Append the lines and sync; False if the file has been renamed meanwhile."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        os.fchmod(file.fileno(), 0o600)
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            # The last line may have been cut short; ours must begin on a new one.
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
