"""Frozen records of a chat: one for each table, and what is read of threads or deleted.

None means that a field was not given: a write never replaces a stored value with None. Times are UTC texts
`YYYY-MM-DDTHH:MM:SS.ffffffZ`; ids are UUID texts in lower case.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ROLES = ("user", "reviewer", "admin")


def is_shared(about_thread: Mapping[str, Any] | None) -> bool:
    """Whether a thread with this metadata is shared: its owner made a read-only link."""
    return about_thread is not None and bool(about_thread.get("is_shared"))


@dataclass(frozen=True, slots=True)
class User:
    id: str
    identifier: str
    metadata: dict[str, Any]
    created_at: str | None
    role: str = "user"
    disabled_at: str | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A user with the password hash, if there is one."""

    user: User
    password_hash: str | None = field(repr=False)
    password_changed_at: str | None = None
    logins_ended_at: str | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """A login: the hash of its token, its validity (UTC), and the browser.

    `id`, `seen_at` and `ended_at` are set by the store, and not given when a login is recorded.
    """

    token_hash: str = field(repr=False)
    started_at: str
    expires_at: str
    agent: str | None = None
    id: str | None = None
    seen_at: str | None = None
    ended_at: str | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """A user's thumb on a step: value 1 is up, 0 is down."""

    id: str
    for_id: str
    value: int
    thread_id: str | None = None
    user_id: str | None = None
    comment: str | None = None
    updated_at: str | None = None


@dataclass(slots=True)  # not frozen, which would take three times as long to make; nothing changes one
class Step:
    id: str
    thread_id: str | None = None
    name: str | None = None
    type: str | None = None
    parent_id: str | None = None
    command: str | None = None
    modes: dict[str, Any] | None = None
    disable_feedback: bool | None = None
    streaming: bool | None = None
    wait_for_answer: bool | None = None
    is_error: bool | None = None
    metadata: dict[str, Any] | None = None
    tags: list[str] | None = None
    input: str | None = None
    output: str | None = None
    created_at: str | None = None
    start: str | None = None
    end: str | None = None
    generation: dict[str, Any] | None = None
    show_input: str | None = None
    default_open: bool | None = None
    auto_collapse: bool | None = None
    language: str | None = None
    indent: int | None = None
    extra: dict[str, Any] | None = None
    updated_at: str | None = None


@dataclass(frozen=True, slots=True)
class Element:
    """A file, picture or the like. `size` is the display size; `byte_size` and `sha256` (hexadecimal) describe the file
    stored under `object_key`."""

    id: str
    thread_id: str | None = None
    type: str | None = None
    url: str | None = None
    chainlit_key: str | None = None
    name: str | None = None
    display: str | None = None
    object_key: str | None = None
    byte_size: int | None = None
    sha256: str | None = None
    size: str | None = None
    page: int | None = None
    language: str | None = None
    for_id: str | None = None
    mime: str | None = None
    auto_play: bool | None = None
    player_config: dict[str, Any] | None = None
    props: dict[str, Any] | None = None
    extra: dict[str, Any] | None = None
    created_at: str | None = None


@dataclass(frozen=True, slots=True)
class Thread:
    id: str
    created_at: str | None = None
    updated_at: str | None = None
    name: str | None = None
    user_id: str | None = None
    user_identifier: str | None = None
    tags: list[str] | None = None
    metadata: dict[str, Any] | None = None
    pinned_at: str | None = None
    archived_at: str | None = None
    expires_at: str | None = None

    @property
    def is_shared(self) -> bool:
        """Whether the owner shared a read-only link."""
        return is_shared(self.metadata)


@dataclass(frozen=True, slots=True)
class ThreadChoice:
    """Which of a user's threads are listed; None stands for no condition.

    `words` must all be in the title or one text, `tag` is one of its tags. Archived and temporary threads are left out
    unless they are asked for: `is_archived` or `is_temporary` None gives them too.
    """

    words: str | None = None
    tag: str | None = None
    is_pinned: bool | None = None
    is_archived: bool | None = False
    is_temporary: bool | None = False


@dataclass(frozen=True, slots=True)
class OwnThreadPage:
    """A page of the acting user's threads; the cursor of the next page, or None."""

    threads: tuple[Thread, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Folder:
    """A tag, and how many threads that are neither archived nor temporary have it."""

    tag: str
    threads: int


@dataclass(frozen=True, slots=True)
class Page:
    """Threads, latest activity first, and whether more follow."""

    threads: tuple[Thread, ...]
    has_next: bool


@dataclass(frozen=True, slots=True)
class SharedThread:
    """A thread that every logged-in user with its link may read. `shared_at` is a UTC time as text, None if unknown."""

    id: str
    name: str | None
    shared_at: str | None


@dataclass(frozen=True, slots=True)
class ThreadHeading:
    """The heading of a thread. `shared_at` is a UTC time as text, None if unknown."""

    id: str
    name: str | None
    owner: str | None
    is_own: bool
    is_shared: bool
    shared_at: str | None


@dataclass(frozen=True, slots=True)
class ExcerptPart:
    """A part of an excerpt, and whether it is one of the words."""

    text: str
    is_marked: bool = False


@dataclass(frozen=True, slots=True)
class FoundThread:
    """The title of a found thread, and an excerpt of the first message or tool step with the words; () without one."""

    thread_id: str
    title: tuple[ExcerptPart, ...]
    text: tuple[ExcerptPart, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The record of a deletion.

    `what` and `id` name the deleted thread or user; `id` is None for several threads, and for a user of whom only
    threads were left. `owner` is
    the identifier of its user, `deleted_by` that of the acting user (None for the system). `rows` is the number of
    deleted rows by table, `row_ids` their ids by table where the table has ids. `messages` is the number of deleted
    steps that were messages. `threads` are the ids of the deleted threads, sorted. `files` are the keys deleted from
    the blob store, `files_left` those that could not be deleted: they stay in `blob_deletions` and are retried, except
    keys of other stores, as an adopted database may have them. `assistants_left` are the ids of the user's assistants
    that others may use: they stay, without an owner.
    """

    what: Literal["thread", "threads", "user"]
    id: str | None
    owner: str | None
    deleted_by: str | None
    deleted_at: str
    rows: dict[str, int]
    files: tuple[str, ...] = ()
    files_left: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    row_ids: dict[str, tuple[str, ...]] = field(default_factory=dict)
    messages: int = 0
    assistants_left: tuple[str, ...] = ()
