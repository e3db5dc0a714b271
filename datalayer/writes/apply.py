"""Applies writes that are data, other than steps; ownership is checked when each is applied."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial, singledispatch
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.database import Database, within
from datalayer.dialects import Dialect
from datalayer.dialects.lone import UNDECIDED
from datalayer.errors import Forbidden, NotFound
from datalayer.history import deletion_marks, elements, feedback, file_outbox, steps, thread_writes, threads, users
from datalayer.ownership import SYSTEM, Actor, actor_of, demand_write, may_read
from datalayer.records.chat import Element, User
from datalayer.records.usage import LlmCallWrite
from datalayer.records.writes import (
    ElementDeletion,
    ElementWrite,
    FavoriteMark,
    FileAbandonment,
    FileAnnouncement,
    OtherWrite,
    Removed,
    StepDeletion,
    ThreadCut,
    ThreadDeletion,
    ThreadRename,
    ThreadWrite,
    UserWrite,
    VoteRemoval,
    VoteWrite,
)
from datalayer.writes import calls
from datalayer.writes.single.calls import store_call
from datalayer.writes.single.elements import announce_file, remove_element, store_element
from datalayer.writes.single.statement import SingleWrite
from datalayer.writes.single.steps import mark_favorite, remove_step
from datalayer.writes.single.threads import remove_thread, store_thread
from datalayer.writes.single.users import store_user
from datalayer.writes.single.votes import cast_vote, withdraw_vote

_SINGLE: dict[type, Callable[[Dialect, Any], SingleWrite]] = {
    UserWrite: store_user,
    VoteWrite: cast_vote,
    VoteRemoval: withdraw_vote,
    StepDeletion: remove_step,
    FavoriteMark: mark_favorite,
    ElementWrite: store_element,
    ElementDeletion: remove_element,
    FileAnnouncement: announce_file,
    ThreadWrite: store_thread,
    LlmCallWrite: store_call,
}
"""The writes that an engine with `changes_in_ctes` applies with one statement each."""


def single_write(dialect: Dialect, write: object) -> SingleWrite | None:
    """The write as one statement, if the engine and its kind have one."""
    single = _SINGLE.get(type(write)) if dialect.changes_in_ctes else None
    return None if single is None else single(dialect, write)


async def apply(connection: AsyncConnection, dialect: Dialect, write: OtherWrite) -> Any:
    """Apply the write; gives the result of its kind: a user, a vote's id, whether a record existed, or `Removed`.

    Raises:
        Forbidden: the thread, the vote or the element is someone else's, or the thread would become so.
        NotFound: the step does not exist for the acting user.
    """
    if not isinstance(write, ThreadWrite) and (single := single_write(dialect, write)) is not None:
        return await single.apply(within(connection))
    if dialect.changes_in_ctes and isinstance(write, ThreadDeletion):
        # In a statement before, so that the next one sees what the lock has waited for.
        await threads.lock(connection, write.thread_id)
        if (removed := await remove_thread(within(connection), dialect, write)) is not None:
            return removed
    return await _apply(write, connection, dialect)


async def apply_alone(database: Database, write: OtherWrite) -> Any:
    """As `apply`, in a transaction of its own.

    If the write has one statement (`single_write`), that has run already and its rows did not tell the result.
    """
    dialect = database.dialect
    single = single_write(dialect, write)
    if single is not None and single.otherwise is not None:
        return await single.otherwise(database.write_alone)
    if dialect.changes_in_ctes and isinstance(write, ThreadDeletion):
        removed = await remove_thread(partial(database.write_with_thread_locked, write.thread_id), dialect, write)
        if removed is not None:
            return removed
    async with database.write() as connection:
        if single is not None and isinstance(write, ThreadWrite):
            return await when_nothing_was_stored(connection, dialect, write)
        return await _apply(write, connection, dialect)


async def when_nothing_was_stored(connection: AsyncConnection, dialect: Dialect, write: ThreadWrite) -> None:
    """Find out why the statement of the write stored nothing, without running it again.

    Raises:
        Forbidden: the thread belongs to someone else, or would afterwards.
        InvalidRecord: the thread would belong to a user who does not exist.
    """
    actor = actor_of(write)
    exists = await demand(connection, write.thread.id, actor)
    if not exists and await deletion_marks.drops(within(connection), write.thread.id):
        return
    if actor is SYSTEM:
        # There was nothing to change.
        return
    await within(connection)(*thread_writes.upsert(dialect, write.thread, write.moment, actor=SYSTEM))
    # A user who creates a thread or changes its owner must be its owner afterwards.
    await demand(connection, write.thread.id, actor)


async def demand(connection: AsyncConnection, thread_id: str, actor: Actor) -> bool:
    """Whether the thread exists.

    Raises:
        Forbidden: it belongs to someone else.
    """
    exists, owner = await threads.owner(connection, thread_id)
    if exists:
        demand_write(actor, owner, "the thread")
    return exists


async def demand_element(connection: AsyncConnection, element: Element, actor: Actor) -> bool:
    """Check that the actor may store this element; whether its thread exists.

    Raises:
        Forbidden: the thread belongs to someone else, or the element is in another thread.
    """
    exists = element.thread_id is not None and await demand(connection, element.thread_id, actor)
    there = await elements.get(connection, element.id)
    if there is not None and there.thread_id != element.thread_id:
        raise Forbidden("an element with this id is in another thread")
    return exists


@singledispatch
async def _apply(write: Any, _connection: AsyncConnection, _dialect: Dialect) -> Any:
    raise TypeError(f"no function applies a {type(write).__name__}")


@_apply.register
async def _user(write: UserWrite, connection: AsyncConnection, dialect: Dialect) -> User:
    return await users.upsert(connection, dialect, write.user)


@_apply.register
async def _call(write: LlmCallWrite, connection: AsyncConnection, dialect: Dialect) -> None:
    await calls.store(connection, dialect, [write])


@_apply.register
async def _thread(write: ThreadWrite, connection: AsyncConnection, dialect: Dialect) -> None:
    if await store_thread(dialect, write).apply(within(connection)) is UNDECIDED:
        await when_nothing_was_stored(connection, dialect, write)


@_apply.register
async def _rename(write: ThreadRename, connection: AsyncConnection, _dialect: Dialect) -> bool:
    await demand(connection, write.thread_id, actor_of(write))
    return await threads.replace_name(connection, write.thread_id, write.expected, write.name)


@_apply.register
async def _delete_thread(write: ThreadDeletion, connection: AsyncConnection, _dialect: Dialect) -> Removed:
    exists = await demand(connection, write.thread_id, actor_of(write))
    return Removed(exists, tuple(await threads.delete_thread(connection, write.thread_id)))


@_apply.register
async def _cut(write: ThreadCut, connection: AsyncConnection, dialect: Dialect) -> Removed:
    await demand(connection, write.thread_id, actor_of(write))
    until = write.moment if write.late else None
    ids, keys = await steps.cut_after(
        connection, dialect, write.thread_id, write.after_step_id, write.keep, until=until
    )
    return Removed(len(ids), tuple(keys), tuple(ids))


@_apply.register
async def _delete_step(write: StepDeletion, connection: AsyncConnection, dialect: Dialect) -> Removed:
    thread_id = await steps.thread_of(connection, write.step_id)
    if thread_id is None:
        return Removed(0)
    await demand(connection, thread_id, actor_of(write))
    return Removed(1, tuple(await steps.delete_step(connection, dialect, write.step_id)), (write.step_id,))


@_apply.register
async def _mark(write: FavoriteMark, connection: AsyncConnection, dialect: Dialect) -> None:
    thread_id = await steps.thread_of(connection, write.step_id)
    if thread_id is None:
        if await deletion_marks.drops(within(connection), write.thread_id):
            return
        raise NotFound(f"the step {write.step_id} does not exist")
    await demand(connection, thread_id, actor_of(write))
    await steps.set_favorite(connection, dialect, write.step_id, write.favorite)


@_apply.register
async def _vote(write: VoteWrite, connection: AsyncConnection, dialect: Dialect) -> str:
    thread, voter = await _voter(connection, write.vote.for_id, actor_of(write))
    vote = replace(write.vote, thread_id=thread, user_id=voter)
    return await feedback.upsert(connection, dialect, vote, now=write.moment)


@_apply.register
async def _take_back(write: VoteRemoval, connection: AsyncConnection, dialect: Dialect) -> bool:
    found = await feedback.get(connection, write.vote_id)
    if found is None:
        return await feedback.is_withdrawn(connection, write.vote_id, now=write.moment)
    _, voter = await _voter(connection, found.for_id, actor_of(write))
    if voter != found.user_id:
        raise Forbidden("the vote is someone else's")
    await feedback.delete_feedback(connection, dialect, found, now=write.moment)
    return True


@_apply.register
async def _element(write: ElementWrite, connection: AsyncConnection, dialect: Dialect) -> Removed | None:
    thread_id = write.element.thread_id
    if thread_id is not None:
        await demand(connection, thread_id, actor_of(write))
        # The thread is created if it does not exist, unless it was deleted: before, or while this statement waited.
        touched = await threads.touch(connection, dialect, thread_id, write.moment, write.actor)
        if not touched and await deletion_marks.drops(within(connection), thread_id):
            return None
    replaced = await elements.replace_file(connection, write.element) if write.element.object_key else []
    await elements.upsert(connection, dialect, write.element, now=write.moment)
    return Removed(0, tuple(replaced))


@_apply.register
async def _delete_element(write: ElementDeletion, connection: AsyncConnection, _dialect: Dialect) -> Removed:
    found = await elements.get(connection, write.element_id)
    if found is None:
        return Removed(0)
    if found.thread_id is not None:
        await demand(connection, found.thread_id, actor_of(write))
    return Removed(1, tuple(await elements.delete_element(connection, write.element_id)))


@_apply.register
async def _announce(write: FileAnnouncement, connection: AsyncConnection, _dialect: Dialect) -> bool:
    exists = await demand_element(connection, Element(write.element_id, write.thread_id), actor_of(write))
    if not exists and await deletion_marks.drops(within(connection), write.thread_id):
        return False
    await file_outbox.announce(connection, write.object_key, write.thread_id, write.due_at)
    return True


@_apply.register
async def _abandon(write: FileAbandonment, connection: AsyncConnection, _dialect: Dialect) -> None:
    await file_outbox.abandon(connection, write.object_key)


async def _voter(connection: AsyncConnection, step_id: str, actor: Actor) -> tuple[str, str | None]:
    """The step's thread, and the id of the user who votes."""
    thread_id = await steps.thread_of(connection, step_id)
    thread = await threads.get(connection, thread_id) if thread_id else None
    if thread is None or not may_read(actor, thread.user_identifier):
        raise NotFound(f"the step {step_id} does not exist")
    return thread.id, thread.user_id
