"""Frozen records of a chat: one for each table, and a page of threads.

None means that a field was not given: a write never replaces a stored value with None. Times are UTC texts
`YYYY-MM-DDTHH:MM:SS.ffffffZ`; ids are UUID texts in lower case.
"""

from dataclasses import dataclass, field
from typing import Any

ROLES = ("user", "reviewer", "admin")


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


@dataclass(frozen=True, slots=True)
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

    @property
    def is_shared(self) -> bool:
        """Whether the owner shared a read-only link."""
        return bool((self.metadata or {}).get("is_shared"))


@dataclass(frozen=True, slots=True)
class Page:
    """Threads, latest activity first, and whether more follow."""

    threads: tuple[Thread, ...]
    has_next: bool
