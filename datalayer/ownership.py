"""The acting user, and what that user may read and write: ownership is decided only here.

Chainlit gives its data layer no user. So the application sets the acting user of each request in a context variable,
which every task of the request inherits. If nobody sets it, the system acts: the command line, a migration, a test, or
an application without this check.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any, Final, Protocol, TypeAlias

from sqlalchemy import ColumnElement, and_, bindparam, case, exists, false, or_, select, true

from datalayer.errors import Forbidden
from datalayer.schema.assistants import assistant_users, assistants
from datalayer.schema.chat import threads, users
from datalayer.schema.chat_models import chat_model_users, chat_models
from datalayer.schema.jobs import jobs
from datalayer.schema.keys import api_keys
from datalayer.schema.usage import llm_calls, projects


class System(Enum):
    """The actor that is not a user and may do everything."""

    SYSTEM = "system"


SYSTEM: Final = System.SYSTEM

Actor: TypeAlias = str | None | System
"""The identifier of the logged-in user, None for a visitor who is not logged in, or SYSTEM."""

acting_user: ContextVar[Actor] = ContextVar("acting_user", default=SYSTEM)


@contextmanager
def acting_as(user: Actor) -> Iterator[None]:
    """The given user acts within the block."""
    token = acting_user.set(user)
    try:
        yield
    finally:
        acting_user.reset(token)


class HasActor(Protocol):
    """A record with its actor as data: the identifier, and whether it is the system."""

    @property
    def actor(self) -> str | None: ...
    @property
    def system(self) -> bool: ...


def recorded(actor: Actor) -> tuple[str | None, bool]:
    """The actor as data: the identifier, and whether it is the system."""
    return (None, True) if isinstance(actor, System) else (actor, False)


def actor_of(write: HasActor) -> Actor:
    """The actor of a record that carries it as data."""
    return SYSTEM if write.system else write.actor


def may_write(actor: Actor, owner: str | None) -> bool:
    """Whether the actor may write to a thread of this owner (an identifier; None for a thread without owner)."""
    return actor is SYSTEM or actor == owner


def may_read(actor: Actor, owner: str | None, *, shared: bool = False) -> bool:
    """Whether the actor may read a thread of this owner; every logged-in user may read a shared one."""
    return may_write(actor, owner) or (shared and actor is not None)


def readable_by(kind: Actor) -> ColumnElement[bool]:
    """`may_read` without shared links, as a condition on `threads` for queries of many threads.

    The statement serves every actor of this kind (`kind_of`): a user's identifier is its parameter `actor`, which has
    no default, so a kept statement cannot run in the name of an earlier actor.
    """
    is_own = writable_by(kind, threads.c.userIdentifier)
    # These queries name the user by id as well. Postgres takes the two conditions for independent, expects hardly any
    # thread of a user among those of many, and then reads and sorts all threads of the user for one page. It does not
    # look into a CASE.
    return is_own if kind is SYSTEM else case((is_own, true()), else_=false())


def writable_by(kind: Actor, owner: ColumnElement[Any]) -> ColumnElement[bool]:
    """`may_write`, as a condition on the identifier of an owner, for statements that are kept as with `readable_by`."""
    if kind is SYSTEM:
        return true()
    if kind is None:
        return owner.is_(None)
    return owner == bindparam("actor", required=True, type_=threads.c.userIdentifier.type)


def owner_condition(actor: Actor) -> tuple[str, dict[str, dict[str, str]]]:
    """`may_write`, as a condition on the item of a thread in DynamoDB: the expression, and its values."""
    if actor is SYSTEM:
        return "attribute_exists(PK)", {}
    if actor is None:
        return "attribute_exists(PK) AND attribute_not_exists(userIdentifier)", {}
    return "userIdentifier = :actor", {":actor": {"S": actor}}


def calls_readable_by(actor: Actor) -> ColumnElement[bool]:
    """Whether the actor may see a row of `llm_calls`: the system sees all, users see their own, visitors see none."""
    return _belongs_to(actor, llm_calls.c.userId)


def jobs_readable_by(actor: Actor) -> ColumnElement[bool]:
    """Whether the actor may see and change a row of `jobs`: the system all, users their own, visitors none."""
    return _belongs_to(actor, jobs.c.ownerId)


def keys_readable_by(actor: Actor) -> ColumnElement[bool]:
    """Whether the actor may see and revoke a row of `api_keys`: the system all, users their own, visitors none."""
    return _belongs_to(actor, api_keys.c.userId)


def _belongs_to(actor: Actor, owner_id: ColumnElement[Any]) -> ColumnElement[bool]:
    if isinstance(actor, System):
        return true()
    if actor is None:
        return false()
    return owner_id == select(users.c.id).where(users.c.identifier == actor).scalar_subquery()


def assistants_editable_by(kind: Actor) -> ColumnElement[bool]:
    """Whether the actor may change an assistant: its owner and the admins may. Kept as with `readable_by`."""
    return _of_owner_or_admin(kind, assistants.c.ownerId)


def projects_deletable_by(kind: Actor) -> ColumnElement[bool]:
    """Whether the actor may delete a project: its owner and the admins may. Kept as with `readable_by`."""
    return _of_owner_or_admin(kind, projects.c.ownerId)


def _of_owner_or_admin(kind: Actor, owner_id: ColumnElement[Any]) -> ColumnElement[bool]:
    if isinstance(kind, System):
        return true()
    if kind is None:
        return false()
    return or_(owner_id == _of_me(users.c.id), _of_me(users.c.role) == "admin")


def assistants_usable_by(kind: Actor) -> ColumnElement[bool]:
    """Whether the actor may use an assistant: who may change it, and whom it is for. Kept as with `readable_by`."""
    if isinstance(kind, System):
        return true()
    if kind is None:
        return false()
    named = assistant_users.c
    is_named = exists().where(named.assistantId == assistants.c.id, named.userId == _of_me(users.c.id))
    is_for_me = _is_for_me(assistants.c.access, assistants.c.role, is_named.correlate(assistants))
    return or_(is_for_me, assistants_editable_by(kind))


def chat_models_usable_by(kind: Actor) -> ColumnElement[bool]:
    """Whether the actor may use a model that is in the picker: whom it is for, and the admins. Kept as with
    `readable_by`."""
    if isinstance(kind, System):
        return true()
    if kind is None:
        return chat_models.c.access == "everyone"
    named = chat_model_users.c
    is_named = exists().where(named.model == chat_models.c.name, named.userId == _of_me(users.c.id))
    is_for_me = _is_for_me(chat_models.c.access, chat_models.c.role, is_named.correlate(chat_models))
    return or_(is_for_me, _of_me(users.c.role) == "admin")


def _is_for_me(
    access: ColumnElement[Any], role: ColumnElement[Any], is_named: ColumnElement[bool]
) -> ColumnElement[bool]:
    """Whether what a row is about is for everyone, for the role of the acting user, or for named users."""
    return or_(
        access == "everyone",
        and_(access == "role", role == _of_me(users.c.role)),
        and_(access == "users", is_named),
    )


def _of_me(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The value of a column of the acting user, if that account is enabled. The engines read it once a statement."""
    identifier = bindparam("actor", required=True, type_=users.c.identifier.type)
    return select(column).where(users.c.identifier == identifier, users.c.disabledAt.is_(None)).scalar_subquery()


def demand_system(actor: Actor, what: str) -> None:
    """Require that the system acts.

    Raises:
        Forbidden: the actor is a user or an anonymous visitor.
    """
    if actor is not SYSTEM:
        raise Forbidden(f"{what} is for the operator alone")


def kind_of(actor: Actor) -> Actor:
    """The kind of actor: the system, an anonymous visitor (None), or any user ("")."""
    return actor if actor is SYSTEM or actor is None else ""


def demand_write(actor: Actor, owner: str | None, what: str) -> None:
    """Require that the actor may write.

    Raises:
        Forbidden: the actor is not the owner.
    """
    if not may_write(actor, owner):
        raise Forbidden(f"{what} belongs to someone else")
