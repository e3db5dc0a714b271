"""A conversation as every reader gives it: a tree of messages, one of which is the last of the current branch."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from threadkeeper.importing.reasons import Reason, Unread

Kind: TypeAlias = Literal["question", "answer", "thought", "tool", "hidden"]
"""`hidden` messages only connect others: what a chat does not show either."""


class BadConversation(Unread):
    """The conversation cannot be read."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a message: an entry of the export, or its content; with neither, the export does not have it."""

    id: str
    name: str
    mime: str | None = None
    entry: str | None = None
    data: bytes | None = None

    @property
    def is_missing(self) -> bool:
        return self.entry is None and self.data is None


@dataclass(frozen=True, slots=True)
class Vote:
    """The user's vote on an answer: 1 is up, 0 is down."""

    value: Literal[0, 1]
    comment: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A page that an answer cites."""

    url: str
    title: str = ""


@dataclass(slots=True)
class Message:
    """One message, thought or run of a tool.

    `id` is unique in its conversation; `parent` is the id of the message before it. `text` is the output of a tool, and
    `input` what it was called with. `seconds` is how long a thought or a tool took. `status` is how an answer ended, as
    its metadata say it; an answer that `is_error` is a failure that the chat told, and no words of a model.
    """

    id: str
    parent: str | None
    kind: Kind
    text: str = ""
    at: datetime | None = None
    model: str | None = None
    name: str = ""
    input: str = ""
    seconds: float | None = None
    is_error: bool = False
    status: str = "complete"
    vote: Vote | None = None
    files: tuple[Attachment, ...] = ()
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier version of a message, as Threadkeeper stores it: its text until it was edited or removed.

    `run` is what it belonged to.
    """

    message_id: str
    is_edit: bool
    kind: Kind
    text: str
    at: datetime | None
    replaced_at: datetime
    run: str | None = None
    vote: Vote | None = None


@dataclass(slots=True)
class Conversation:
    """A conversation. `current` is the id of the last message of the current branch; None: the newest one.

    `left_out` counts what the reader has not taken, by its name in the texts of the page (`import_left_out_…`).
    """

    id: str
    title: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    messages: list[Message] = field(default_factory=list)
    current: str | None = None
    is_archived: bool = False
    is_pinned: bool = False
    tags: tuple[str, ...] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    earlier: tuple[Earlier, ...] = ()
    own_id: str | None = None
    """Of a thread of Threadkeeper: if the user has it still, it is not imported."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A conversation that cannot be read: what is known of its name, and why."""

    name: str
    reason: Reason


Read: TypeAlias = Conversation | Unreadable
