"""Upgrades a database to the schema of this code.

Each migration is a named function. All pending migrations and their rows in the table of migrations are written in one
transaction, under a lock, so that two replicas that start together migrate once.

The first migration creates the tables of `schema/` and adds missing columns and indexes to existing tables (of an older
version, or of Chainlit's own layer). No migration drops anything.
"""

from collections.abc import Awaitable, Callable, Collection

from sqlalchemy import Column, Connection, Table, Text, exists, func, insert, inspect, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateIndex, CreateTable

from datalayer.cleaning import utc_now
from datalayer.database import Database
from datalayer.errors import InvalidRecord, SchemaError
from datalayer.history.removed_answers import ANSWER
from datalayer.history.speech import may_hold_thought
from datalayer.history.user_names import fill as fill_user_names
from datalayer.schema import deletion_triggers, review_triggers, search_triggers
from datalayer.schema.assistants import ASSISTANT_TABLES
from datalayer.schema.chat import (
    blob_deletions,
    deleted_threads,
    feedbacks,
    metadata,
    migrations,
    search_backlog,
    search_pending,
    search_texts,
    steps,
    threads,
)
from datalayer.schema.jobs import job_elections, job_replicas, jobs
from datalayer.schema.keys import KEY_TABLES, api_replies
from datalayer.schema.knowledge import KNOWLEDGE_TABLES
from datalayer.schema.review import REVIEW_TABLES, review_pending
from datalayer.schema.turns import turn_claims
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
    """Register a migration under its function's name; migrations are applied in the order of this file."""
    _STEPS[step.__name__] = step
    return step


async def migrate(database: Database) -> list[str]:
    """Apply all pending migrations in one transaction and return their names.

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
    """Apply all pending migrations in the caller's transaction, under its lock, and return their names.

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
    """Add missing tables and columns. Indexes are left out, because existing data may violate a unique one."""
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


async def is_new(database: Database) -> bool:
    """Whether the database has no tables at all, neither ours nor Chainlit's."""
    async with database.read() as connection:
        return not await connection.run_sync(lambda sync: inspect(sync).get_table_names())


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
    # Chainlit's own layer does not store the voter. Only the owner sees the thumbs, so the vote is the owner's.
    voter = select(threads.c.userId).where(threads.c.id == feedbacks.c.threadId).correlate(feedbacks).scalar_subquery()
    await connection.execute(update(feedbacks).where(feedbacks.c.userId.is_(None)).values(userId=voter))


@migration
async def index_reads(connection: AsyncConnection) -> None:
    """Add two indexes to databases of older versions."""
    await connection.run_sync(_add_indexes, {"favorite_steps", "votes_of_user"})


@migration
async def date_threads(connection: AsyncConnection) -> None:
    """Set `updatedAt` where it is missing (1970 if `createdAt` is missing too), because lists leave out threads without
    it."""
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
    """Add size and checksum of files to their rows, and an index by key."""
    await connection.run_sync(_add_tables_and_columns)
    await connection.run_sync(_add_indexes, {"elements_of_file"})


@migration
async def queue_blob_deletions(connection: AsyncConnection) -> None:
    await connection.run_sync(blob_deletions.create, checkfirst=True)
    await connection.run_sync(_add_indexes, {"blob_deletions_of_file"})


@migration
async def account_for_calls(connection: AsyncConnection) -> None:
    """Add the tables of model calls, prices, projects and limits."""
    tables = (projects, providers, llm_calls, llm_call_payloads, prices, usage_limits, usage_reservations)
    for table in tables:
        await connection.run_sync(table.create, checkfirst=True)
    await connection.run_sync(_add_indexes, {str(index.name) for table in tables for index in table.indexes})


@migration
async def review_threads(connection: AsyncConnection) -> None:
    """Add verdicts, the queue, the audit and the index of answers, which is built at the first read."""
    await connection.run_sync(_add_tables_and_columns)
    for table in REVIEW_TABLES:
        await connection.run_sync(table.create, checkfirst=True)
    await connection.run_sync(_add_indexes, {str(index.name) for table in REVIEW_TABLES for index in table.indexes})
    await connection.execute(insert(review_pending).from_select(["threadId"], select(threads.c.id)))


@migration
async def record_logins(connection: AsyncConnection) -> None:
    """Add the table of logins, so that a user can end each of them."""
    await connection.run_sync(_add_tables_and_columns)


@migration
async def keep_judged_answers(connection: AsyncConnection) -> None:
    """Add to removed answers the id of the run that their vote was cast on."""
    await connection.run_sync(_add_tables_and_columns)
    await connection.run_sync(_add_indexes, {"step_versions_of_step"})


@migration
async def compare_names_without_case(connection: AsyncConnection) -> None:
    """Add the names as they are compared. Users whose names differ only in case stay, and are logged."""
    await connection.run_sync(_add_tables_and_columns)
    await connection.run_sync(_add_indexes, {"one_user_per_name"})
    await fill_user_names(connection)


@migration
async def mark_deleted_threads(connection: AsyncConnection) -> None:
    """Add the marks of deleted threads, with the triggers that write and heed them."""
    await connection.run_sync(deleted_threads.create, checkfirst=True)


@migration
async def find_marks_by_owner(connection: AsyncConnection) -> None:
    """Add to the marks of the search the owner of their thread, whose search indexes them first."""
    await connection.run_sync(_add_tables_and_columns)
    if connection.dialect.name == "postgresql":
        for function in search_triggers.FUNCTIONS_ON_POSTGRESQL:
            await connection.exec_driver_sql(function)
        await connection.exec_driver_sql("ALTER INDEX search_texts_words SET (fastupdate = on)")
    else:
        for name, trigger in search_triggers.TRIGGERS_ON_SQLITE.items():
            await connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
            await connection.exec_driver_sql(trigger)
    owner = select(threads.c.userId).where(threads.c.id == search_pending.c.threadId).scalar_subquery()
    await connection.execute(update(search_pending).where(search_pending.c.userId.is_(None)).values(userId=owner))
    await connection.run_sync(_add_indexes, {"search_pending_of_user"})


@migration
async def index_speech_alone(connection: AsyncConnection) -> None:
    """Mark the answers in the search index that may hold thought: their words are indexed again, without it."""
    is_indexed = exists(select(search_texts.c.id).where(search_texts.c.stepId == steps.c.id))
    found = select(steps.c.threadId, steps.c.id, threads.c.userId).join_from(steps, threads)
    found = found.where(is_indexed, steps.c.type == ANSWER, may_hold_thought(steps.c.output))
    await connection.execute(insert(search_pending).from_select(["threadId", "stepId", "userId"], found))


@migration
async def keep_jobs(connection: AsyncConnection) -> None:
    """Add the tables of jobs."""
    tables = (jobs, job_replicas, job_elections)
    for table in tables:
        await connection.run_sync(table.create, checkfirst=True)
    await connection.run_sync(_add_indexes, {str(index.name) for table in tables for index in table.indexes})


@migration
async def keep_assistants(connection: AsyncConnection) -> None:
    """Add assistants and their versions, and the version that answered to model calls and to the index of answers."""
    await connection.run_sync(_add_tables_and_columns)
    of_assistants = {str(index.name) for table in ASSISTANT_TABLES for index in table.indexes}
    await connection.run_sync(_add_indexes, {"review_answers_of_version"} | of_assistants)


@migration
async def know_documents(connection: AsyncConnection) -> None:
    """Add the data sources, trainings, documents and passages of assistants."""
    for table in KNOWLEDGE_TABLES:
        await connection.run_sync(table.create, checkfirst=True)
    names = {str(index.name) for table in KNOWLEDGE_TABLES for index in table.indexes}
    await connection.run_sync(_add_indexes, names)


@migration
async def fetch_sources(connection: AsyncConnection) -> None:
    """Add when a data source with an address was fetched, and what became of it in each training."""
    await connection.run_sync(_add_tables_and_columns)


@migration
async def suggest_questions(connection: AsyncConnection) -> None:
    """Add to trainings the questions that their documents answer. Trainings of before have none."""
    await connection.run_sync(_add_tables_and_columns)


@migration
async def mark_new_steps_once(connection: AsyncConnection) -> None:
    """On Postgres, mark a new step with one trigger in place of two, and look up a new thread's deletion once."""
    if connection.dialect.name != "postgresql":
        return
    for trigger in ("search_step_made", "review_answer_made"):
        await connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {trigger} ON steps")
    for statement in (*review_triggers.MADE_ON_POSTGRESQL, deletion_triggers.SKIP_ON_POSTGRESQL):
        await connection.exec_driver_sql(statement)


@migration
async def mark_calls_in_progress(connection: AsyncConnection) -> None:
    """Add the index of calls that have not ended, and whether a provider gets the caller's own key."""
    await connection.run_sync(_add_tables_and_columns)
    await connection.run_sync(_add_indexes, {"llm_calls_in_progress"})


@migration
async def keep_api_keys(connection: AsyncConnection) -> None:
    """Add API keys and their rates, and the key to model calls and to reservations."""
    await connection.run_sync(_add_tables_and_columns)
    of_keys = {str(index.name) for table in KEY_TABLES for index in table.indexes}
    await connection.run_sync(_add_indexes, {"llm_calls_of_key"} | of_keys)


@migration
async def name_failures_of_trainings(connection: AsyncConnection) -> None:
    """Add the kind and the values of the failure to trainings. Those of before keep their English sentence."""
    await connection.run_sync(_add_tables_and_columns)


@migration
async def keep_first_answers(connection: AsyncConnection) -> None:
    """Add the first answers to requests of programs, for their repetitions."""
    await connection.run_sync(api_replies.create, checkfirst=True)
    await connection.run_sync(_add_indexes, {"api_replies_of_thread"})


@migration
async def claim_turns(connection: AsyncConnection) -> None:
    """Add the claims of threads for turns, and the index by which old first answers are found."""
    await connection.run_sync(turn_claims.create, checkfirst=True)
    await connection.run_sync(_add_indexes, {"api_replies_by_time"})


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
        raise SchemaError(f"table {table.name} lacks the column {column.name}, so it is not a table of Chainlit's")
    specification = connection.dialect.ddl_compiler(connection.dialect, None).get_column_specification(column)  # type: ignore[arg-type]
    connection.execute(text(f'ALTER TABLE "{table.name}" ADD COLUMN {specification}'))
