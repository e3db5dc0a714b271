"""SQL of imported and exported threads."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Table, insert, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_json, utc_now
from datalayer.dialects import Dialect
from datalayer.errors import InvalidRecord, NotFound
from datalayer.history import deletion_marks, feedback, file_outbox, users
from datalayer.history.removed_answers import IS_LAST_VOTE
from datalayer.ownership import Actor, kind_of, readable_by
from datalayer.records.imports import ImportedThread
from datalayer.schema.chat import IS_TEMPORARY, elements, feedback_changes, steps, threads
from datalayer.schema.review import step_versions
from datalayer.schema.rows import given

_AT_ONCE = 500
_STATES = {"disableFeedback": False, "streaming": False, "isError": False}


async def existing(connection: AsyncConnection, thread_ids: Collection[str]) -> set[str]:
    """The ids of those threads that exist, whoever owns them."""
    return set((await connection.execute(select(threads.c.id).where(threads.c.id.in_(thread_ids)))).scalars())


async def existing_messages(connection: AsyncConnection, step_ids: Collection[str]) -> set[str]:
    """The ids of those messages that exist, or of which an earlier version does."""
    now = select(steps.c.id).where(steps.c.id.in_(step_ids))
    earlier = select(step_versions.c.stepId).where(step_versions.c.stepId.in_(step_ids))
    return set((await connection.execute(union(now, earlier))).scalars())


async def ids_of_user(connection: AsyncConnection, user_id: str, actor: Actor) -> list[str]:
    """The ids of the user's threads that the actor may read, last activity first; temporary ones are left out."""
    listed = select(threads.c.id).where(threads.c.userId == user_id, ~IS_TEMPORARY, readable_by(kind_of(actor)))
    order = listed.order_by(threads.c.updatedAt.desc(), threads.c.id.desc())
    return list((await connection.execute(order, {"actor": actor})).scalars())


async def versions_of(connection: AsyncConnection, thread_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The earlier versions of messages by thread, oldest first, with the owner's votes on removed messages."""
    version, change = step_versions.c, feedback_changes.c
    shown = [column for column in version if column.name not in ("id", "threadId")]
    listed = select(version.threadId.label("its thread"), *shown).where(version.threadId.in_(thread_ids))
    rows = (await connection.execute(listed.order_by(version.id))).mappings().all()
    cast = (
        select(change.forId, change.value, change.comment, change.changedAt)
        .join(threads, (threads.c.id == change.threadId) & (threads.c.userId == change.userId))
        .where(change.threadId.in_(thread_ids), IS_LAST_VOTE)
    )
    votes = {row["forId"]: dict(row) for row in (await connection.execute(cast)).mappings()}
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        vote = votes.get(row["stepId"]) if row["change"] == "removed" else None
        described = {column.name: row[column.name] for column in shown} | {"feedback": vote}
        found.setdefault(row["its thread"], []).append(described)
    return found


def demand_own_messages(imported: ImportedThread) -> None:
    """Require that votes and files belong to messages, or earlier versions, of the imported thread.

    Raises:
        InvalidRecord: they do not, or an id is not a UUID.
    """
    own = {clean_id(one.id, "step id") for one in imported.steps}
    own |= {clean_id(one.step_id, "step id of a version") for one in imported.versions}
    for vote in imported.votes:
        if clean_id(vote.for_id, "step id of a vote") not in own:
            raise InvalidRecord(f"the vote {vote.id} is not on a message of the imported thread")
    for element in (one.element for one in imported.files):
        if element.for_id is not None and clean_id(element.for_id, "step id of an element") not in own:
            raise InvalidRecord(f"the element {element.id} is not of a message of the imported thread")


async def is_owned(connection: AsyncConnection, imported: ImportedThread) -> bool:
    """Whether the thread exists and belongs to its owner."""
    owner = await users.get(connection, imported.thread.user_identifier or "")
    found = await connection.execute(select(threads.c.userId).where(threads.c.id == imported.thread.id))
    return owner is not None and found.scalar() == owner.id


async def store(
    connection: AsyncConnection, dialect: Dialect, imported: ImportedThread, files: Mapping[str, Mapping[str, Any]]
) -> bool:
    """Store the thread in one transaction, which may be repeated from the start; False if it exists.

    Args:
        files: key, size and SHA-256 of the stored files, by the ids of their elements.

    Raises:
        NotFound: its owner does not exist.
        InvalidRecord: an earlier version is of a message in another thread.
    """
    thread = imported.thread
    owner = await users.get(connection, thread.user_identifier or "")
    if owner is None:
        raise NotFound("the owner of an imported thread does not exist")
    # The user wants a deleted thread back.
    await deletion_marks.remove(connection, thread.id)
    values = clean_json(given(thread, threads)) | {"userId": owner.id, "userIdentifier": owner.identifier}
    made = dialect.insert(threads).values(**values).on_conflict_do_nothing().returning(threads.c.id)
    if (await connection.execute(made)).first() is None:
        return False
    here = {"threadId": thread.id}
    await _insert(connection, steps, [_STATES | given(step, steps) | here for step in imported.steps])
    versioned = {one.step_id for one in imported.versions}
    elsewhere = select(steps.c.id).where(steps.c.id.in_(versioned), steps.c.threadId != thread.id).limit(1)
    if (other := (await connection.execute(elsewhere)).scalar()) is not None:
        raise InvalidRecord(f"the message {other} with an earlier version is in another thread")
    # The file is as old as it is stored here, for the retention of files.
    nothing = {"objectKey": None, "byteSize": None, "sha256": None, "createdAt": utc_now()}
    rows = [
        given(one.element, elements) | nothing | dict(files.get(one.element.id, {})) | here for one in imported.files
    ]
    await _insert(connection, elements, rows)
    versions = [
        given(one, step_versions) | here | {"change": one.change, "output": one.output} for one in imported.versions
    ]
    await _insert(connection, step_versions, versions)
    for vote in imported.votes:
        cast = replace(vote, thread_id=thread.id, user_id=owner.id)
        await feedback.upsert(connection, dialect, cast, now=vote.updated_at or thread.updated_at or utc_now())
    there = {step.id for step in imported.steps}
    gone = [vote.for_id for vote in imported.votes if vote.for_id not in there]
    if gone:
        await feedback.remove_with_steps(connection, dialect, gone, now=utc_now(), thread_id=thread.id)
    await file_outbox.forget(connection, [one["objectKey"] for one in files.values()])
    # Removed answers have no step, so no trigger marks them.
    await feedback.mark_answers(connection, [thread.id])
    return True


async def _insert(connection: AsyncConnection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert the rows; every row gets all columns that one of them has."""
    names = {name for row in rows for name in row}
    whole = [{name: row.get(name) for name in names} for row in rows]
    for at in range(0, len(whole), _AT_ONCE):
        await connection.execute(insert(table), [clean_json(row) for row in whole[at : at + _AT_ONCE]])
