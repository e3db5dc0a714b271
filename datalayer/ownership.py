"""Who is acting, and what they may touch: the one place where ownership is decided.

Chainlit hands its data layer no user, so whoever serves requests says who is acting, in a context variable
that every task started from the request inherits. Where nobody says, it is the system itself: the command
line, a migration, a test, or an application that never asked for this check.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Final, Protocol, TypeAlias

from sqlalchemy import ColumnElement, bindparam, false, select, true

from datalayer.errors import Forbidden
from datalayer.schema.chat import threads, users
from datalayer.schema.usage import llm_calls


class System(Enum):
    """The actor that is no user and may do everything."""

    SYSTEM = "system"


SYSTEM: Final = System.SYSTEM

Actor: TypeAlias = str | None | System
"""The identifier of the logged-in user, None for a visitor who is not logged in, or SYSTEM."""

acting_user: ContextVar[Actor] = ContextVar("acting_user", default=SYSTEM)


@contextmanager
def acting_as(user: Actor) -> Iterator[None]:
    """Within the block, the given user acts."""
    token = acting_user.set(user)
    try:
        yield
    finally:
        acting_user.reset(token)


class HasActor(Protocol):
    """What carries its actor as data: the identifier, and whether it is the system itself."""

    @property
    def actor(self) -> str | None: ...
    @property
    def system(self) -> bool: ...


def recorded(actor: Actor) -> tuple[str | None, bool]:
    """The actor as data: the identifier, and whether it is the system itself."""
    return (None, True) if isinstance(actor, System) else (actor, False)


def actor_of(write: HasActor) -> Actor:
    """Who acts, of what carries it as data."""
    return SYSTEM if write.system else write.actor


def may_write(actor: Actor, owner: str | None) -> bool:
    """Whether the actor may change what is in a thread of this owner (an identifier; None for one without)."""
    return actor is SYSTEM or actor == owner


def may_read(actor: Actor, owner: str | None, *, shared: bool = False) -> bool:
    """Whether the actor may read what is in a thread of this owner; a shared one is read by whoever is logged in."""
    return may_write(actor, owner) or (shared and actor is not None)


def readable_by(kind: Actor) -> ColumnElement[bool]:
    """`may_read` without shared links, as a condition on `threads` for a query that reads many.

    The statement serves every actor of this kind (`kind_of`): a user's identifier is its parameter `actor`, which has
    no default, so that a statement that is kept and used again cannot be run in an earlier actor's name.
    """
    if kind is SYSTEM:
        return true()
    if kind is None:
        return threads.c.userIdentifier.is_(None)
    return threads.c.userIdentifier == bindparam("actor", required=True, type_=threads.c.userIdentifier.type)


def calls_readable_by(actor: Actor) -> ColumnElement[bool]:
    """Whether the actor may see a row of `llm_calls`: the system every one, a user their own, a visitor none."""
    if isinstance(actor, System):
        return true()
    if actor is None:
        return false()
    return llm_calls.c.userId == select(users.c.id).where(users.c.identifier == actor).scalar_subquery()


def demand_system(actor: Actor, what: str) -> None:
    """Let the system itself pass, and nobody else.

    Raises:
        Forbidden: it is a user, or a visitor.
    """
    if actor is not SYSTEM:
        raise Forbidden(f"{what} is for the operator alone")


def kind_of(actor: Actor) -> Actor:
    """The system, a visitor (None), or a user, whoever it is (the empty name)."""
    return actor if actor is SYSTEM or actor is None else ""


def demand_write(actor: Actor, owner: str | None, what: str) -> None:
    """Let those pass who may change it.

    Raises:
        Forbidden: the actor is not the owner.
    """
    if not may_write(actor, owner):
        raise Forbidden(f"{what} belongs to someone else")
