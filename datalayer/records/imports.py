"""Frozen records of threads that come from another chat."""

from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass

from datalayer.records.chat import Element, Feedback, Step, Thread
from datalayer.records.review import StepVersion


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """An element, and what opens its content; without it, the element has no file."""

    element: Element
    content: Callable[[], AsyncIterable[bytes]] | None = None


@dataclass(frozen=True, slots=True)
class ImportedThread:
    """A whole thread with the ids and times that it is to have.

    `thread.user_identifier` names its owner, who must exist. `steps` are in the order of their times. `versions` are
    earlier versions of messages, in the order of the changes. The votes are the owner's, and their `updated_at` is the
    time at which they were cast; those on messages that are in `versions` alone are kept as history.
    """

    thread: Thread
    steps: tuple[Step, ...] = ()
    versions: tuple[StepVersion, ...] = ()
    votes: tuple[Feedback, ...] = ()
    files: tuple[ImportedFile, ...] = ()
