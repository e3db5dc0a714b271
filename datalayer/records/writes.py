"""The writes that go into the queue, as frozen records: data that can be kept in a file and applied by a later process.

In each of them `actor` is the identifier of the user who writes, or None for an anonymous one; with `system` the write
may touch any thread. `moment` is the time of the call, a UTC text as in `records.chat`.
"""

from dataclasses import dataclass

from datalayer.records.chat import Element, Feedback, Step, Thread, User
from datalayer.records.usage import LlmCallWrite


@dataclass(slots=True)  # not frozen, as a step
class StepWrite:
    """A step to store.

    `moment` is used if the step has no time. `created` marks the creation of the step, as opposed to a later state.
    `opens` creates the thread if it does not exist.
    """

    step: Step
    moment: str
    created: bool
    opens: bool
    actor: str | None
    system: bool

    @property
    def key(self) -> "StepKey":
        """Two writes with the same key can be merged into one."""
        return self.step.id, self.step.thread_id, self.actor, self.system


StepKey = tuple[str, str | None, str | None, bool]


@dataclass(frozen=True, slots=True)
class ThreadWrite:
    """A thread to create, or the fields of it to change."""

    thread: Thread
    moment: str
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class VoteWrite:
    """A vote to store; its thread and voter are looked up when it is applied."""

    vote: Feedback
    moment: str
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class VoteRemoval:
    """A vote to withdraw."""

    vote_id: str
    moment: str
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class UserWrite:
    """A user to store at login."""

    user: User


@dataclass(frozen=True, slots=True)
class ThreadRename:
    """A new name for a thread, if it still has the expected one."""

    thread_id: str
    expected: str | None
    name: str
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class ThreadDeletion:
    """A thread to delete, with everything in it."""

    thread_id: str
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class ThreadCut:
    """Delete all steps of a thread after one of them, except those to keep.

    Applied `late`, by a later process, it leaves steps alone that were created after its own moment.
    """

    thread_id: str
    after_step_id: str
    keep: tuple[str, ...]
    moment: str
    actor: str | None
    system: bool
    late: bool = False


@dataclass(frozen=True, slots=True)
class StepDeletion:
    """A step to delete, with its votes and elements."""

    step_id: str
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class FavoriteMark:
    """Set or clear the favourite mark of a step."""

    step_id: str
    thread_id: str | None
    favorite: bool
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class ElementWrite:
    """The row of an element whose file is already stored."""

    element: Element
    moment: str
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class ElementDeletion:
    """An element to delete."""

    element_id: str
    thread_id: str | None
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class FileAnnouncement:
    """A file that is about to be stored for an element; the actor must be allowed to store it."""

    object_key: str
    element_id: str
    thread_id: str | None
    due_at: str
    """The file is deleted at this time if it has no row by then."""
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class FileAbandonment:
    """A file whose element will not be stored: delete the file."""

    object_key: str


@dataclass(frozen=True, slots=True)
class Removed:
    """The result of a deletion: the number of steps or elements, the keys of files that have no row any more, and the
    ids of the steps, so that uploads for them are cancelled."""

    count: int
    object_keys: tuple[str, ...] = ()
    step_ids: tuple[str, ...] = ()


OtherWrite = (
    ThreadWrite
    | ThreadRename
    | ThreadDeletion
    | ThreadCut
    | StepDeletion
    | FavoriteMark
    | VoteWrite
    | VoteRemoval
    | ElementWrite
    | ElementDeletion
    | FileAnnouncement
    | FileAbandonment
    | UserWrite
    | LlmCallWrite
)
"""A write of anything but a step: applied one by one, in a transaction with its neighbours."""


Recorded = StepWrite | OtherWrite
"""A write that is data: it can be spooled and applied by a later process."""


def ids_of(write: Recorded) -> tuple[str | None, str | None]:
    """The ids of the thread, if it is known, and of the record."""
    ids: tuple[str | None, str | None]
    match write:
        case StepWrite(step=record) | ElementWrite(element=record) | LlmCallWrite(call=record):
            ids = record.thread_id, record.id
        case ThreadWrite(thread=thread):
            ids = thread.id, thread.id
        case ThreadRename() | ThreadDeletion():
            ids = write.thread_id, write.thread_id
        case ThreadCut():
            ids = write.thread_id, write.after_step_id
        case StepDeletion():
            ids = None, write.step_id
        case FavoriteMark():
            ids = write.thread_id, write.step_id
        case VoteWrite(vote=vote):
            ids = vote.thread_id, vote.for_id
        case VoteRemoval():
            ids = None, write.vote_id
        case ElementDeletion() | FileAnnouncement():
            ids = write.thread_id, write.element_id
        case FileAbandonment():
            ids = None, None
        case UserWrite(user=user):
            ids = None, user.id
    return ids
