"""Upgrades a database to the schema of this code: one named function for each migration, its ledger row in the same
transaction, and a lock so that two replicas that start together migrate once.

The first migration creates the tables of `schema/` and adds to existing tables (an older database of
ours, or one of Chainlit's own layer) the missing columns and indexes. No migration drops anything.
"""

from collections.abc import Awaitable, Callable, Collection

from sqlalchemy import Column, Connection, Table, Text, exists, func, insert, inspect, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateIndex, CreateTable

from datalayer.cleaning import utc_now
from datalayer.database import Database
from datalayer.errors import InvalidRecord, SchemaError
from datalayer.schema import review_triggers as _review_triggers  # noqa: F401  belong to a table, and are made with it
from datalayer.schema import search_triggers as _search_triggers  # noqa: F401
from datalayer.schema.chat import (
    blob_deletions,
    feedbacks,
    metadata,
    migrations,
    search_backlog,
    search_pending,
    search_texts,
    steps,
    threads,
)
from datalayer.schema.review import REVIEW_TABLES, review_pending
from datalayer.schema.usage import (
    llm_call_payloads,
    llm_calls,
    prices,
    projects,
    providers,
    usage_limits,
    usage_reservations,
)

Migration = Callable[[AsyncConnection], Awaitable[None]]
_STEPS: dict[str, Migration] = {}


def migration(step: Migration) -> Migration:
    """Registers a step under its own name; the order in this file is the order of application."""
    _STEPS[step.__name__] = step
    return step


async def migrate(database: Database) -> list[str]:
    """Apply all pending migrations in one transaction; gives their names.

    Raises:
        SchemaError: the database was migrated by a newer version, or its data prevents the migration.
    """
    try:
        async with database.write(migrates=True) as connection:
            await database.dialect.lock_migrations(connection)
            return await apply_pending(connection)
    except InvalidRecord as error:
        raise SchemaError(
            f"the database was not changed, because its data prevents the migration ({error}); "
            "`threadkeeper adopt` reports the causes, and merges duplicate votes"
        ) from error


async def apply_pending(connection: AsyncConnection) -> list[str]:
    """Apply all pending migrations in the caller's transaction, under its lock; gives their names.

    Raises:
        SchemaError: the database was migrated by a newer version.
    """
    await connection.execute(CreateTable(migrations, if_not_exists=True))
    applied = set((await connection.execute(select(migrations.c.name))).scalars())
    _refuse_newer(applied)
    pending = [name for name in _STEPS if name not in applied]
    for name in pending:
        await _STEPS[name](connection)
        await connection.execute(insert(migrations).values(name=name, appliedAt=utc_now()))
    return pending


async def add_tables_and_columns(connection: AsyncConnection) -> None:
    """Add missing tables and columns, without indexes, which the data of the tables may prevent."""
    await connection.run_sync(_add_tables_and_columns)


async def pending_migrations(database: Database) -> list[str]:
    """The names of the migrations that `migrate` would apply.

    Raises:
        SchemaError: the database was migrated by a newer version.
    """
    async with database.read() as connection:
        if not await connection.run_sync(lambda sync: inspect(sync).has_table(migrations.name)):
            return list(_STEPS)
        applied = set((await connection.execute(select(migrations.c.name))).scalars())
    _refuse_newer(applied)
    return [name for name in _STEPS if name not in applied]


def _refuse_newer(applied: set[str]) -> None:
    if unknown := applied - _STEPS.keys():
        raise SchemaError(
            f"the database was migrated by a newer version ({', '.join(sorted(unknown))}); start that version, "
            "or restore the backup made before the upgrade"
        )


@migration
async def build_schema(connection: AsyncConnection) -> None:
    await connection.run_sync(_add_tables_and_columns)
    await connection.run_sync(_add_indexes)
    latest_step = (
        select(func.max(steps.c.createdAt)).where(steps.c.threadId == threads.c.id).correlate(threads).scalar_subquery()
    )
    await connection.execute(
        update(threads)
        .where(threads.c.updatedAt.is_(None))
        .values(updatedAt=func.coalesce(latest_step, threads.c.createdAt))
    )
    # Chainlit's own layer does not say who voted; it is the owner who sees the thumbs.
    voter = select(threads.c.userId).where(threads.c.id == feedbacks.c.threadId).correlate(feedbacks).scalar_subquery()
    await connection.execute(update(feedbacks).where(feedbacks.c.userId.is_(None)).values(userId=voter))


@migration
async def index_reads(connection: AsyncConnection) -> None:
    """For a database that was built before there were these indexes."""
    await connection.run_sync(_add_indexes, {"favorite_steps", "votes_of_user"})


@migration
async def date_threads(connection: AsyncConnection) -> None:
    """Give threads without any time the oldest one, because a thread without a time is in no list."""
    of_old = func.coalesce(threads.c.createdAt, "1970-01-01T00:00:00.000000Z")
    await connection.execute(update(threads).where(threads.c.updatedAt.is_(None)).values(updatedAt=of_old))


@migration
async def search_index(connection: AsyncConnection) -> None:
    for table in (search_texts, search_pending, search_backlog):
        await connection.run_sync(table.create, checkfirst=True)
    # Existing texts are indexed in the background after the database is opened.
    for table in (steps, threads):
        something = select(literal(table.name, Text)).where(exists().select_from(table))
        await connection.execute(insert(search_backlog).from_select(["table"], something))


@migration
async def describe_files(connection: AsyncConnection) -> None:
    """Files have a size and a checksum in their rows, and are found by their key."""
    await connection.run_sync(_add_tables_and_columns)
    await connection.run_sync(_add_indexes, {"elements_of_file"})


@migration
async def queue_blob_deletions(connection: AsyncConnection) -> None:
    await connection.run_sync(blob_deletions.create, checkfirst=True)
    await connection.run_sync(_add_indexes, {"blob_deletions_of_file"})


@migration
async def account_for_calls(connection: AsyncConnection) -> None:
    """Calls to models, their prices, their projects and their limits."""
    tables = (projects, providers, llm_calls, llm_call_payloads, prices, usage_limits, usage_reservations)
    for table in tables:
        await connection.run_sync(table.create, checkfirst=True)
    await connection.run_sync(_add_indexes, {str(index.name) for table in tables for index in table.indexes})


@migration
async def review_threads(connection: AsyncConnection) -> None:
    """Verdicts, the queue, the audit, and the rows by which answers are found; those are built at the first read."""
    await connection.run_sync(_add_tables_and_columns)
    for table in REVIEW_TABLES:
        await connection.run_sync(table.create, checkfirst=True)
    await connection.run_sync(_add_indexes, {str(index.name) for table in REVIEW_TABLES for index in table.indexes})
    await connection.execute(insert(review_pending).from_select(["threadId"], select(threads.c.id)))


@migration
async def record_logins(connection: AsyncConnection) -> None:
    """Logins are recorded, and can be ended one by one."""
    await connection.run_sync(_add_tables_and_columns)


@migration
async def keep_judged_answers(connection: AsyncConnection) -> None:
    """Removed answers have the id of the run whose thumb was theirs."""
    await connection.run_sync(_add_tables_and_columns)
    await connection.run_sync(_add_indexes, {"step_versions_of_step"})


def _add_tables_and_columns(connection: Connection) -> None:
    found = inspect(connection)
    for table in metadata.sorted_tables:
        if not found.has_table(table.name):
            table.create(connection)
        else:
            there = {column["name"] for column in found.get_columns(table.name)}
            for column in table.columns:
                if column.name not in there:
                    _add_column(connection, table, column)


def _add_indexes(connection: Connection, only: Collection[str] | None = None) -> None:
    for table in metadata.sorted_tables:
        wanted = sorted((str(index.name), index) for index in table.indexes if only is None or index.name in only)
        indexes = {index["name"] for index in inspect(connection).get_indexes(table.name)} if wanted else set()
        for name, index in wanted:
            if name not in indexes:
                connection.execute(CreateIndex(index))


def _add_column(connection: Connection, table: Table, column: Column[object]) -> None:
    if not column.nullable and column.server_default is None:
        raise SchemaError(f"table {table.name} has no column {column.name}; it is no table of Chainlit's")
    specification = connection.dialect.ddl_compiler(connection.dialect, None).get_column_specification(column)  # type: ignore[arg-type]
    connection.execute(text(f'ALTER TABLE "{table.name}" ADD COLUMN {specification}'))
