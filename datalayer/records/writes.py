"""The writes that go into the queue, as frozen records: data that can be kept in a file and applied by a later process.

In each of them `actor` is the identifier of the user who writes, or None for an anonymous one; with `system` the write
may touch any thread. `moment` is the time of the call, a UTC text as in `records.chat`.
"""

from dataclasses import dataclass

from datalayer.records.chat import Element, Feedback, Step, Thread, User
from datalayer.records.usage import LlmCallWrite


@dataclass(frozen=True, slots=True)
class StepWrite:
    """A step on its way to the store.

    `moment` stands in where the step has no time of its own. `created` says that this is the step's creation and not
    a later state of it. `opens` says that it makes its thread where there is none. `actor` is the identifier of who
    writes; the `system` may write everywhere.
    """

    step: Step
    moment: str
    created: bool
    opens: bool
    actor: str | None
    system: bool

    @property
    def key(self) -> "StepKey":
        """What two writes must have in common for the newer one to stand for both."""
        return self.step.id, self.step.thread_id, self.actor, self.system


StepKey = tuple[str, str | None, str | None, bool]


@dataclass(frozen=True, slots=True)
class ThreadWrite:
    """What is said of a thread, on its way to the store. `actor` and `system` as in `StepWrite`."""

    thread: Thread
    moment: str
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class VoteWrite:
    """A vote on its way to the store; its thread and its voter are looked up when its turn has come."""

    vote: Feedback
    moment: str
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class VoteRemoval:
    """A vote that is taken back, on its way to the store."""

    vote_id: str
    moment: str
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class UserWrite:
    """A user who logs in, on their way to the store."""

    user: User


@dataclass(frozen=True, slots=True)
class ThreadRename:
    """A name for a thread that still has the expected one."""

    thread_id: str
    expected: str | None
    name: str
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class ThreadDeletion:
    """The end of a thread and of all that is in it."""

    thread_id: str
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class ThreadCut:
    """The end of all steps of a thread that came after one of them, but for those to keep.

    One that is applied `late`, by a later process, leaves alone what came after its own moment.
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
    """The end of a step, with its votes and elements."""

    step_id: str
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class FavoriteMark:
    """A step's mark as a favourite, set or taken away."""

    step_id: str
    thread_id: str | None
    favorite: bool
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class ElementWrite:
    """The row of an element, whose bytes are stored already."""

    element: Element
    moment: str
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class ElementDeletion:
    """The end of an element."""

    element_id: str
    thread_id: str | None
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class FileAnnouncement:
    """A file that is about to be stored for an element, which must be the actor's to store."""

    object_key: str
    element_id: str
    thread_id: str | None
    due_at: str
    """When it is to be deleted if there is no row by then."""
    actor: str | None
    system: bool


@dataclass(frozen=True, slots=True)
class FileAbandonment:
    """A file whose element is not to come: whatever was stored of it is to be deleted."""

    object_key: str


@dataclass(frozen=True, slots=True)
class Removed:
    """What a deletion took away: how many steps or elements, the keys of files that have no row any more, and which
    steps, so that no file on its way to one of them is kept."""

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
"""A write that is data and no step's: applied one by one, in a transaction with its neighbours."""


Recorded = StepWrite | OtherWrite
"""A write that is data: it can be kept in a file and applied by a later process."""


def ids_of(write: Recorded) -> tuple[str | None, str | None]:
    """The ids of the thread, where it is known, and of the record that the write is about."""
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
