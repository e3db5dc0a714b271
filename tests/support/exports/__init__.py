"""Small exports of other chats, in the shapes that these publish, and what an import of each must give."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c02"
    "0000000b4944415478da6364f80f00010501012718e3660000000049454e44ae426082"
)


@dataclass(frozen=True)
class Thread:
    """A thread as it must be: lines of type, text and second after `BEGIN`; and what is not current, as lines of
    change, type and text."""

    title: str
    steps: Sequence[tuple[str, str, float]]
    versions: Sequence[tuple[str, str, str]] = ()
    models: Sequence[str | None] = ()
    """Of the answers."""
    votes: Mapping[str, int] = field(default_factory=dict)
    """By the text of the answer, or of the last answer of the run."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    archived: bool = False
    pinned: bool = False


@dataclass(frozen=True)
class Export:
    """An export: its source, its file, the threads, oldest first, the names of what must fail, and a word of the oldest
    thread that nothing else has."""

    source: str
    content: bytes
    threads: Sequence[Thread]
    word: str
    failures: Sequence[str] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        # The name says nothing.
        path = folder / "download"
        path.write_bytes(self.content)
        return path


BEGIN = datetime(2025, 3, 1, 10, tzinfo=UTC)


def second(number: float) -> float:
    """The seconds since 1970 of this second after `BEGIN`."""
    return BEGIN.timestamp() + number


def iso(number: float, ending: str = "Z") -> str:
    return datetime.fromtimestamp(second(number), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + ending


def zipped(entries: Mapping[str, Any]) -> bytes:
    """A ZIP of these entries: bytes, or values that are written as JSON."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return file.getvalue()
