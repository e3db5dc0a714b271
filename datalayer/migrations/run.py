"""Applies the migrations that a database lacks, once, however many replicas start together.

A new database, and one of Chainlit's own layer, is migrated in one transaction; so is every SQLite file, which has one
writer at a time anyway. A Postgres database that others are using is migrated beside them: tables and columns are added
in short transactions, indexes are built without a lock that writers wait for, and each migration has a transaction of
its own. A transaction that has to wait for a lock gives up soon and tries again, so that nobody queues behind it. An
interrupted migration can be repeated.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from sqlalchemy import Connection, insert, inspect, null, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.schema import CreateTable

from datalayer.cleaning import utc_now
from datalayer.database import Database
from datalayer.dialects import BesideWriters
from datalayer.errors import ConfigurationError, InvalidRecord, SchemaError, StorageUnavailable, TimedOut
from datalayer.migrations.changes import (
    add_table_or_columns,
    add_tables_and_columns,
    missing_indexes,
    missing_tables_and_columns,
)
from datalayer.migrations.steps import STEPS, Phase, Step
from datalayer.schema.chat import migrations

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
_SAY_SECONDS = 60.0
_LOCK_ATTEMPTS = 120
_LOCK_PAUSE_SECONDS = 1.0


async def migrate(database: Database, *, removals: bool = False) -> list[str]:
    """Apply the pending migrations, and return their names. Another process that is migrating is waited for.

    Args:
        removals: apply those of the phase "after" too, because no replica runs an older version any more.

    Raises:
        SchemaError: the database was migrated by a newer version, or its data prevents a migration.
        StorageUnavailable: the database cannot be used, or others lock a table for minutes.
    """
    kept = "the database was not changed"
    try:
        async with locked(database, migrates=True) as connection:
            beside = database.dialect.beside_writers
            if beside is not None and (applied := await _applied_elsewhere(database)):
                # This transaction holds the lock and nothing else.
                due = _due(applied, removals=removals)
                kept = "the migration stopped, and what was added before stays"
                return await _apply_beside_writers(database, beside, due) if due else []
            return await apply_pending(connection, removals=removals)
    except InvalidRecord as error:
        raise SchemaError(
            f"{kept}, because the data of the database prevents the migration ({error}); "
            "`threadkeeper adopt` reports the causes, and merges duplicate votes"
        ) from error


@asynccontextmanager
async def locked(database: Database, *, migrates: bool = False) -> AsyncIterator[AsyncConnection]:
    """A transaction that locks migrations until its end. The log says when another process has the lock.

    Args:
        migrates: as for `Database.write`.
    """
    told = None
    while True:
        # One transaction for each look: an index that is built CONCURRENTLY waits for the snapshots of open ones.
        async with database.write(migrates=migrates) as connection:
            if await database.dialect.try_lock_migrations(connection):
                if told is not None:
                    logger.info("the other process has migrated the database")
                yield connection
                return
        if told is None or time.monotonic() - told > _SAY_SECONDS:
            told = time.monotonic()
            logger.warning("another process is migrating the database; this one waits until it is done")
        await asyncio.sleep(_LOOK_SECONDS)


async def apply_pending(connection: AsyncConnection, *, removals: bool = False) -> list[str]:
    """Apply all pending migrations in the caller's transaction, under its lock, and return their names.

    Raises:
        SchemaError: the database was migrated by a newer version.
    """
    await connection.execute(CreateTable(migrations, if_not_exists=True))
    applied = await connection.run_sync(_read_ledger)
    pending = _due(applied, removals=removals)
    if pending and applied:
        # The ledger of an older version lacks a column.
        await connection.run_sync(add_tables_and_columns)
    for step in pending:
        await _apply(connection, step)
    return [step.name for step in pending]


async def pending_migrations(database: Database) -> list[str]:
    """The names of the migrations that `migrate` would apply.

    Raises:
        SchemaError: the database was migrated by a newer version.
    """
    return [step.name for step in _due(await _applied_elsewhere(database), removals=False)]


async def pending_removals(database: Database) -> list[str]:
    """The names of the migrations that only `migrate(removals=True)` would apply. Raises as `pending_migrations`."""
    applied = await _applied_elsewhere(database)
    at_once = _due(applied, removals=False)
    return [step.name for step in _due(applied, removals=True) if step not in at_once]


async def is_new(database: Database) -> bool:
    """Whether the database has no tables at all, neither ours nor Chainlit's."""
    async with database.read() as connection:
        return not await connection.run_sync(lambda sync: inspect(sync).get_table_names())


def _due(applied: Mapping[str, Phase | None], *, removals: bool) -> list[Step]:
    """The steps to apply.

    A removal that waits since an earlier upgrade is applied with the additions of the next one.
    """
    _refuse_newer(applied)
    pending = [step for step in STEPS.values() if step.name not in applied]
    if removals or not applied:
        return pending
    last = max((at for at, step in enumerate(pending) if step.phase == "before"), default=-1)
    return pending[: last + 1]


def _refuse_newer(applied: Mapping[str, Phase | None]) -> None:
    unknown = sorted(name for name in applied if name not in STEPS)
    if removing := [name for name in unknown if applied[name] != "before"]:
        raise SchemaError(
            f"this version is too old for the database, which was migrated by a newer version ({', '.join(removing)}); "
            "start that version, or restore the backup made before the upgrade"
        )
    if unknown:
        logger.warning("a newer version has prepared the database (%s); this version can use it", ", ".join(unknown))


async def _applied_elsewhere(database: Database) -> dict[str, Phase | None]:
    """The applied migrations with their phases, read on a connection of its own."""
    async with database.read() as connection:
        return await connection.run_sync(_read_ledger)


def _read_ledger(connection: Connection) -> dict[str, Phase | None]:
    found = inspect(connection)
    if found.default_schema_name is None:
        raise ConfigurationError(
            "no schema of the database's search_path exists: create one, or name another one in the Postgres URL, "
            "as in options=-c%20search_path%3Dpublic"
        )
    if not found.has_table(migrations.name):
        return {}
    there = {column["name"] for column in found.get_columns(migrations.name)}
    # The ledger of an older version has no phases.
    phase = migrations.c.phase if migrations.c.phase.name in there else null()
    return {row[0]: row[1] for row in connection.execute(select(migrations.c.name, phase))}


async def _apply(connection: AsyncConnection, step: Step) -> None:
    await step.run(connection)
    values = {"name": step.name, "appliedAt": utc_now(), "phase": step.phase}
    await connection.execute(insert(migrations).values(**values))


async def _apply_beside_writers(database: Database, beside: BesideWriters, due: Sequence[Step]) -> list[str]:
    async with database.migrating() as engine:
        beside_all = engine.execution_options(isolation_level="AUTOCOMMIT")
        with database.translated():
            async with beside_all.connect() as connection:
                missing = await connection.run_sync(missing_tables_and_columns)
        for table, columns in missing.items():
            add = partial(add_table_or_columns, table=table, columns=columns)
            await _change(database, beside, engine, table.name, lambda connection: connection.run_sync(add))  # noqa: B023
        with database.translated():
            async with beside_all.connect() as connection:
                await beside.drop_unfinished_indexes(connection)
                for index in await connection.run_sync(missing_indexes):
                    logger.info("building the index %s, beside readers and writers", index.name)
                    try:
                        await beside.build_index(connection, index)
                    except DBAPIError as error:
                        logger.error("the index %s could not be built", index.name)
                        if not error.connection_invalidated:
                            # Each write would pay for an index that nobody reads.
                            await beside.drop_unfinished_indexes(connection)
                        raise
        for step in due:
            if step.beside is not None:
                with database.translated():
                    async with beside_all.connect() as connection:
                        await step.beside(connection)
            await _change(database, beside, engine, step.name, lambda connection: _apply(connection, step))  # noqa: B023
    return [step.name for step in due]


async def _change(
    database: Database,
    beside: BesideWriters,
    engine: AsyncEngine,
    what: str,
    work: Callable[[AsyncConnection], Awaitable[None]],
) -> None:
    """Run the work in a transaction, again and again until it gets its locks at once."""
    for attempt in range(_LOCK_ATTEMPTS):
        try:
            with database.translated():
                async with engine.begin() as connection:
                    await beside.give_up_soon(connection)
                    await work(connection)
        except TimedOut:
            if not attempt:
                logger.warning("the migration of %s waits for the transactions of others", what)
        else:
            return
        await asyncio.sleep(_LOCK_PAUSE_SECONDS)
    raise StorageUnavailable(
        f"the migration of {what} did not get its locks in {_LOCK_ATTEMPTS} attempts; end the long transactions of "
        "others, which pg_stat_activity lists, and start again"
    )
