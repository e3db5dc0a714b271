"""What lists of threads need: indexes in the order in which SQLite prefers them, noted votes, and counts of tags."""

from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.migrations.changes import add_indexes, add_tables_and_columns
from datalayer.schema import thread_triggers

_VOTES_AT_ONCE = 1_000
# A thread of which the note differs from its votes. Nothing else is locked.
_NOTE_VOTES = """
WITH differing AS (
    SELECT DISTINCT t.id FROM feedbacks f JOIN threads t ON t.id = f."threadId" AND t."userId" = f."userId"
    WHERE f.value = 1 AND NOT t."votedUp" OR f.value = 0 AND NOT t."votedDown"
    {}
), noted AS MATERIALIZED (SELECT id, note_votes_in(id) FROM (SELECT id FROM differing ORDER BY id) sorted)
SELECT count(*) FROM noted
"""
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
    some = text(_NOTE_VOTES.format(f"LIMIT {_VOTES_AT_ONCE}"))
    while (await connection.execute(some)).scalar_one():
        pass


async def note_votes(connection: AsyncConnection) -> None:
    """Note the votes of all threads where this is not done."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text(_NOTE_VOTES.format("")))
    else:
        await connection.exec_driver_sql(thread_triggers.VOTES_ON_SQLITE)


async def count_folders(connection: AsyncConnection) -> None:
    """Count the tags of all threads."""
    is_sqlite = connection.dialect.name == "sqlite"
    for statement in _COUNT_FOLDERS_ON_SQLITE if is_sqlite else _COUNT_FOLDERS:
        await connection.exec_driver_sql(statement)
