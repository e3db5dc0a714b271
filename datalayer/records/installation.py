"""Frozen records of the installation. Times as in `records/chat.py`."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """The version of the database's engine, and the size of the database in bytes."""

    version: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Replica:
    """A process that runs jobs, and how long ago it was seen, by the clock of the database."""

    name: str
    seconds_ago: float


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """What a new operator has done, read from the data.

    Args:
        has_answer: a model has answered.
        has_people: there are two users who are not disabled.
        has_limit: there is a limit.
        has_assistant: a user has saved an assistant.
        backup: the latest finished backup, as `note_backup` stores it; None without one.
        shown: when the page of the first steps was begun, seen and hidden, by the keys `begun_at`, `seen_at` and
            `hidden_at`; empty if the installation is older than this page.
    """

    has_answer: bool
    has_people: bool
    has_limit: bool
    has_assistant: bool
    backup: dict[str, Any] | None
    shown: dict[str, str]
