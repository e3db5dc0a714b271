"""Deletes threads and users: all their rows, counted by table; gives the files to delete.

Model calls stay, because their cost was spent; the ids of users, threads and steps are removed from them.

Each table is named, because an adopted database has no cascading foreign keys, and because rows deleted by a foreign
key are not counted. The files are queued in the same transaction, and are deleted after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_in
from datalayer.history import owned_assistants
from datalayer.history.file_outbox import abandon, queue_files
from datalayer.history.user_names import by_name
from datalayer.history.user_names import fill as fill_user_names
from datalayer.schema.chat import (
    Identifier,
    blob_deletions,
    credentials,
    elements,
    feedback_changes,
    feedbacks,
    logins,
    metadata,
    steps,
    threads,
    users,
)
from datalayer.schema.chat_models import chat_model_users
from datalayer.schema.jobs import IS_UNFINISHED, jobs
from datalayer.schema.keys import api_key_rates, api_keys, api_replies
from datalayer.schema.knowledge import trainings
from datalayer.schema.people import invitations
from datalayer.schema.prompts import prompts
from datalayer.schema.review import (
    review_items,
    review_pending,
    review_views,
    thread_marks,
    thread_origins,
    verdict_changes,
    verdicts,
)
from datalayer.schema.usage import llm_call_payloads, llm_calls, usage_limits, usage_reservations

# By then, no process stores the file of a job any more whose owner is deleted.
_STORED_BY_SECONDS = 900.0
_MESSAGES = ("user_message", "assistant_message", "system_message")
# Rows that are deleted with their user, and rows that stay without the user's id.
_OF_USER: tuple[Column[Any], ...] = (
    *(feedback_changes.c.userId, feedbacks.c.userId, credentials.c.userId, logins.c.userId),
    *(usage_limits.c.subjectId, usage_reservations.c.userId),
    *(verdict_changes.c.reviewerId, verdicts.c.reviewerId, review_views.c.ownerId, jobs.c.ownerId),
    *(api_keys.c.userId, invitations.c.userId, prompts.c.ownerId, chat_model_users.c.userId),
)
_NAMING_USER: tuple[Column[Any], ...] = (
    trainings.c.startedBy,
    *(review_items.c.assignedTo, review_items.c.lockedBy, thread_marks.c.userId, thread_origins.c.reviewerId),
)


@dataclass(frozen=True, slots=True)
class Removal:
    """The number of deleted rows by table, the ids of deleted threads, the object keys of files without a row, the ids
    of deleted rows by table, where the table has ids, the number of steps that were messages, and the ids of assistants
    that stay without their owner."""

    rows: dict[str, int]
    thread_ids: tuple[str, ...] = ()
    object_keys: tuple[str, ...] = ()
    row_ids: dict[str, tuple[str, ...]] = field(default_factory=dict)
    messages: int = 0
    assistants_left: tuple[str, ...] = ()


async def remove_threads(connection: AsyncConnection, chosen: ColumnElement[bool]) -> Removal:
    """Delete the chosen threads with their contents, and the copies that reviewers made of them."""
    found = await _locked(connection, chosen)
    # Copies of a deleted thread, and copies of copies, are deleted too.
    copies: list[str] = []
    further = await _copies(connection, select(threads.c.id).where(chosen))
    while further := [one for one in further if one not in found]:
        found += await _locked(connection, threads.c.id.in_(further))
        copies += further
        further = await _copies(connection, further)
    if copies:
        chosen = or_(chosen, threads.c.id.in_(copies))
    ids = select(threads.c.id).where(chosen)
    of_steps = elements.c.forId.in_(select(steps.c.id).where(steps.c.threadId.in_(ids)))
    in_threads = or_(elements.c.threadId.in_(ids), and_(elements.c.threadId.is_(None), of_steps))
    keys = await queue_files(connection, in_threads)
    of_messages = select(func.count()).where(steps.c.threadId.in_(ids), steps.c.type.in_(_MESSAGES))
    messages = int((await connection.execute(of_messages)).scalar_one())
    deleted = _DeletedRows()
    await deleted.delete(connection, elements, in_threads)
    of_threads = await detach_calls(connection, llm_calls.c.threadId.in_(ids), {"threadId": None, "stepId": None})
    deleted.count(llm_call_payloads, of_threads)
    for table in reversed(metadata.sorted_tables):
        if "threadId" in table.c and table not in (elements, blob_deletions, llm_calls):
            await deleted.delete(connection, table, table.c.threadId.in_(ids))
    await deleted.delete(connection, threads, chosen)
    return Removal(deleted.rows, tuple(found), tuple(keys), deleted.row_ids, messages)


async def _locked(connection: AsyncConnection, chosen: ColumnElement[bool]) -> list[str]:
    """Lock the threads; gives their ids. Writes of other replicas wait, and then find no thread.

    In the order of `threads.hold`: with two orders, each would wait for the other.
    """
    locked = select(threads.c.id).where(chosen).order_by(threads.c.id).with_for_update()
    return list((await connection.execute(locked)).scalars())


async def _copies(connection: AsyncConnection, originals: Select[Any] | Sequence[str]) -> list[str]:
    found = select(thread_origins.c.threadId).where(thread_origins.c.originalId.in_(originals))
    return list((await connection.execute(found)).scalars())


async def remove_user(connection: AsyncConnection, identifier: str) -> tuple[str | None, Removal]:
    """Delete the user, all their votes, and their threads with contents.

    Threads of the identifier are deleted even if the user does not exist any more: a page that was still open may have
    started one since. Gives the user's id, if the user existed.
    """
    # Locked, so that another replica that stores a call of this user waits, and then finds no user.
    found = by_name(select(users.c.id, users.c.identifier), identifier).with_for_update()
    user_id, stored = (await connection.execute(found)).first() or (None, identifier)
    theirs = threads.c.userIdentifier == stored
    if user_id is None:
        return None, await remove_threads(connection, theirs)
    removed = await remove_threads(connection, or_(theirs, threads.c.userId == user_id))
    deleted = _DeletedRows(dict(removed.rows), dict(removed.row_ids))
    of_user = await detach_calls(connection, llm_calls.c.userId == user_id, {"userId": None, "keyId": None})
    deleted.count(llm_call_payloads, of_user)
    of_keys = select(api_keys.c.id).where(api_keys.c.userId == user_id)
    for column in (usage_limits.c.subjectId, api_key_rates.c.keyId, api_replies.c.keyId):
        await deleted.delete(connection, column.table, column.in_(of_keys))
    for column in (feedbacks.c.userId, feedback_changes.c.userId, verdicts.c.reviewerId):
        # The user's votes and verdicts on answers of others do not count any more.
        affected = select(column.table.c.threadId).where(column == user_id).distinct()
        await connection.execute(insert(review_pending).from_select(["threadId"], affected))
    of_jobs = select(jobs.c.objectKey, IS_UNFINISHED).where(jobs.c.ownerId == user_id, jobs.c.objectKey.is_not(None))
    keys: list[str] = []
    for key, is_unfinished in (await connection.execute(of_jobs)).all():
        if is_unfinished:
            # A process may be storing it, and learns of the deletion a moment later.
            await abandon(connection, key, due_at=utc_in(_STORED_BY_SECONDS))
        else:
            await abandon(connection, key)
            keys.append(key)
    for column in _OF_USER:
        await deleted.delete(connection, column.table, column == user_id)
    for column in _NAMING_USER:
        await connection.execute(update(column.table).where(column == user_id).values({column.name: None}))
    assistants_left, of_knowledge = await owned_assistants.leave(connection, user_id, deleted.delete)
    await deleted.delete(connection, users, users.c.id == user_id)
    # An older database may have another user whose name differs only in case: it is now found by every spelling.
    await fill_user_names(connection)
    files = (*removed.object_keys, *keys, *of_knowledge)
    rows, row_ids = deleted.rows, deleted.row_ids
    removed = replace(removed, rows=rows, row_ids=row_ids, object_keys=files, assistants_left=assistants_left)
    return user_id, removed


@dataclass(slots=True)
class _DeletedRows:
    rows: dict[str, int] = field(default_factory=dict)
    row_ids: dict[str, tuple[str, ...]] = field(default_factory=dict)

    async def delete(self, connection: AsyncConnection, table: Table, condition: ColumnElement[bool]) -> None:
        statement = delete(table).where(condition)
        if "id" in table.c and table.c.id.type is Identifier:
            ids = tuple((await connection.execute(statement.returning(table.c.id))).scalars())
            self.row_ids[table.name] = (*self.row_ids.get(table.name, ()), *ids)
            count = len(ids)
        else:
            count = int((await connection.execute(statement)).rowcount)
        self.count(table, count)

    def count(self, table: Table, rows: int) -> None:
        self.rows[table.name] = self.rows.get(table.name, 0) + rows


async def detach_calls(connection: AsyncConnection, chosen: ColumnElement[bool], ids: dict[str, None]) -> int:
    """Remove the ids from the calls and delete their payloads; gives the number of payloads."""
    of_calls = llm_call_payloads.c.callId.in_(select(llm_calls.c.id).where(chosen))
    count = int((await connection.execute(delete(llm_call_payloads).where(of_calls))).rowcount)
    # A provider's error message may quote a user's text.
    await connection.execute(update(llm_calls).where(chosen).values(errorMessage=None, **ids))
    return count
