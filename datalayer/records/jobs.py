"""Frozen records of jobs: work that survives a restart of the process."""

from dataclasses import dataclass, field
from typing import Any, Literal

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]

UNFINISHED: tuple[JobState, ...] = ("waiting", "running")


@dataclass(frozen=True, slots=True)
class Job:
    """One job.

    `owner` is the identifier of the user who started it; None means the system. `done` and `total` count units of the
    kind's own choice, `text` says what happens now, `error` why the job failed, in words. `result` is what the function
    of the kind returned. `attempt` counts how often a process began the job, `interruptions` how often one did not end
    it: because the process died, or because the database was away. Times are UTC texts.
    """

    id: str
    kind: str
    format: int
    state: JobState
    created_at: str
    key: str | None = None
    owner: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    done: int = 0
    total: int | None = None
    text: str | None = None
    result: Any = None
    error: str | None = None
    object_key: str | None = None
    attempt: int = 0
    interruptions: int = 0
    is_cancelling: bool = False
    started_at: str | None = None
    ended_at: str | None = None
    updated_at: str | None = None

    @property
    def is_finished(self) -> bool:
        return self.state not in UNFINISHED


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs, newest first, and the cursor of the next page, if there is one."""

    jobs: tuple[Job, ...]
    next_cursor: str | None
