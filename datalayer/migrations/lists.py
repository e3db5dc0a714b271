"""What lists need: times and voters, indexes in the order in which SQLite prefers them, noted votes, counts of tags."""

import uuid
from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.migrations.changes import add_indexes, add_tables_and_columns
from datalayer.schema import thread_triggers
from datalayer.schema.chat import Identifier, feedbacks, steps, threads

_VOTES_AT_ONCE = 100
# Of these threads, those of which the note differs from the votes. Nothing else is locked.
_NOTE_VOTES = """
WITH voted AS ({}), differing AS (
    SELECT DISTINCT t.id FROM voted JOIN feedbacks f ON f."threadId" = voted.id
    JOIN threads t ON t.id = voted.id AND t."userId" = f."userId"
    WHERE f.value = 1 AND NOT t."votedUp" OR f.value = 0 AND NOT t."votedDown"
), noted AS MATERIALIZED (SELECT note_votes_in(id) FROM (SELECT id FROM differing ORDER BY id) sorted)
SELECT (SELECT count(*) FROM noted), (SELECT id FROM voted ORDER BY id DESC LIMIT 1)
"""
_VOTED = 'SELECT DISTINCT "threadId" AS id FROM feedbacks'
_SOME_VOTED = f'{_VOTED} WHERE "threadId" > :last ORDER BY id LIMIT :most'
# One statement, and so one moment: what the triggers have counted until then is in the threads already.
_COUNT_FOLDERS = (
    """
WITH counted AS (DELETE FROM folder_counts)
INSERT INTO folder_counts ("userId", "userIdentifier", tag, threads)
SELECT t."userId", t."userIdentifier", each_tag.tag, count(*)
FROM threads t CROSS JOIN LATERAL (SELECT DISTINCT unnest(t.tags) AS tag) each_tag
WHERE t.tags IS NOT NULL AND t."archivedAt" IS NULL AND t."expiresAt" IS NULL AND each_tag.tag IS NOT NULL
    AND EXISTS (SELECT 1 FROM users u WHERE u.id = t."userId")
GROUP BY t."userId", t."userIdentifier", each_tag.tag
""",
)
_COUNT_FOLDERS_ON_SQLITE = (
    "DELETE FROM folder_counts",
    """
INSERT INTO folder_counts ("userId", "userIdentifier", tag, threads)
SELECT t."userId", t."userIdentifier", each_tag.value, count(DISTINCT t.id)
FROM threads t JOIN json_each(CASE WHEN json_valid(t.tags) THEN t.tags ELSE '[]' END) each_tag
WHERE t.tags IS NOT NULL AND t."archivedAt" IS NULL AND t."expiresAt" IS NULL AND each_tag.type = 'text'
    AND EXISTS (SELECT 1 FROM users u WHERE u.id = t."userId")
GROUP BY t."userId", t."userIdentifier", each_tag.value
""",
)


async def date_threads_and_name_voters(connection: AsyncConnection) -> None:
    """Give the rows of Chainlit's own layer the time of the last activity, and the voter."""
    latest_step = (
        select(func.max(steps.c.createdAt)).where(steps.c.threadId == threads.c.id).correlate(threads).scalar_subquery()
    )
    await connection.execute(
        update(threads)
        .where(threads.c.updatedAt.is_(None))
        .values(updatedAt=func.coalesce(latest_step, threads.c.createdAt))
    )
    # That layer does not store the voter. Only the owner sees the thumbs, so the vote is the owner's.
    voter = select(threads.c.userId).where(threads.c.id == feedbacks.c.threadId).correlate(feedbacks).scalar_subquery()
    await connection.execute(update(feedbacks).where(feedbacks.c.userId.is_(None)).values(userId=voter))


async def add_indexes_in_order(connection: AsyncConnection, names: Sequence[str]) -> None:
    """Add the indexes that are missing; on SQLite, make all of them anew.

    Of indexes that it thinks equally good, SQLite takes the one that was made last, and a new database makes them in no
    order. The last one that serves a list has to be the smallest.
    """
    for name in names:
        if connection.dialect.name == "sqlite":
            await connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")
        await connection.run_sync(add_indexes, {name})


async def follow_votes_and_tags(connection: AsyncConnection) -> None:
    """Add the columns and the table, their indexes, and the triggers that keep them."""
    await connection.run_sync(add_tables_and_columns)
    await connection.run_sync(add_indexes, {"folder_counts_of_user"})
    await add_indexes_in_order(connection, ("threads_voted_up", "threads_voted_down"))
    if connection.dialect.name == "postgresql":
        for statement in thread_triggers.POSTGRESQL:
            await connection.exec_driver_sql(statement)
    else:
        await remake_triggers(connection, thread_triggers.TRIGGERS_ON_SQLITE)


async def remake_triggers(connection: AsyncConnection, triggers: Mapping[str, str]) -> None:
    """Make these triggers of SQLite, by name, in place of older ones."""
    for name, trigger in triggers.items():
        await connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
        await connection.exec_driver_sql(trigger)


async def note_votes_in_parts(connection: AsyncConnection) -> None:
    """Note the votes of some threads in each transaction, so that nobody waits for long."""
    some = text(_NOTE_VOTES.format(_SOME_VOTED)).bindparams(bindparam("last", type_=Identifier), most=_VOTES_AT_ONCE)
    last: str | None = str(uuid.UUID(int=0))
    while last is not None:
        _, last = (await connection.execute(some, {"last": last})).one()


async def note_votes(connection: AsyncConnection) -> None:
    """Note the votes of all threads where this is not done."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text(_NOTE_VOTES.format(_VOTED)))
    else:
        await connection.exec_driver_sql(thread_triggers.VOTES_ON_SQLITE)


async def count_folders(connection: AsyncConnection) -> None:
    """Count the tags of all threads."""
    is_sqlite = connection.dialect.name == "sqlite"
    for statement in _COUNT_FOLDERS_ON_SQLITE if is_sqlite else _COUNT_FOLDERS:
        await connection.exec_driver_sql(statement)


async def drop_index_of_time_and_id(connection: AsyncConnection) -> None:
    """Drop the index that `llm_calls_by_time` replaces, where it is still there and nobody waits for that."""
    await connection.exec_driver_sql("DROP INDEX CONCURRENTLY IF EXISTS llm_calls_in_order")
