"""Plans and receipts of retention."""

from dataclasses import dataclass
from typing import Literal

RetentionClass = Literal["threads", "files", "payloads", "audit", "temporary"]
"""Payloads are the texts of calls to models and the earlier versions of messages. Temporary threads have a
time of their own, after which they are deleted."""


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """The records of one class that retention would delete.

    `count` rows would be deleted; `exempt` rows are as old but belong to exempt threads. `byte_size` is the size of the
    files, for the classes "files" and "threads".
    """

    kind: RetentionClass
    before: str
    count: int
    exempt: int
    byte_size: int | None = None


@dataclass(frozen=True, slots=True)
class RetentionReceipt:
    """The records of one class that retention has deleted.

    `rows` counts deleted rows by table, `messages` the deleted steps that were messages. `threads` are ids, `files` are
    keys of deleted files, and `files_left` those of files that the store could not delete now. `applied_by` is None for
    the system.
    """

    kind: RetentionClass
    before: str
    applied_at: str
    applied_by: str | None
    rows: dict[str, int]
    threads: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    files_left: tuple[str, ...] = ()
    messages: int = 0
