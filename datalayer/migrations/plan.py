"""What a migration would do: which changes are due, in which phase, and who waits for them. Nothing is changed."""

from dataclasses import dataclass

from sqlalchemy import Table

from datalayer.database import Database
from datalayer.dialects import BesideWriters
from datalayer.migrations.changes import missing_indexes, missing_tables_and_columns
from datalayer.migrations.run import is_new, pending_migrations, pending_removals
from datalayer.migrations.steps import STEPS, Phase
from datalayer.schema.ddl import tables_with_triggers_of

_WHOLE_FILE = "writers, until all changes are made; readers go on"
_NO_TABLES = "nobody: the database has no tables yet"
_NOT_ADOPTED = "everyone who uses Chainlit's tables, until all changes are made: they are one transaction"
_EVERYONE = "everyone who uses {}, for milliseconds (ACCESS EXCLUSIVE); if it is not free within 0.5 s, others go first"
_WRITERS = "writers of {}, for milliseconds (SHARE ROW EXCLUSIVE); if they are not free within 0.5 s, others go first"
_CONCURRENTLY = "nobody (CONCURRENTLY); reads about {:,} rows"
_NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """One change: the phase, the migration's name or what is added, what it is for, and who waits for it."""

    phase: Phase
    name: str
    purpose: str
    locks: str
    """Who waits, for what and how long."""


async def plan(database: Database) -> list[PlannedChange]:
    """The changes that are due, in the order in which they are made.

    Raises:
        SchemaError: the database was migrated by a newer version.
        StorageUnavailable: the database cannot be used.
    """
    names, removals = await pending_migrations(database), await pending_removals(database)
    beside = database.dialect.beside_writers
    is_used = len(names) + len(removals) < len(STEPS)
    changes = await _additions(database, beside) if beside is not None and is_used and names else []
    at_once = _NO_TABLES if not is_used and await is_new(database) else _WHOLE_FILE if beside is None else _NOT_ADOPTED
    for name in (*names, *removals):
        step = STEPS[name]
        # The tables, columns and indexes of a step are listed before it.
        locks = (step.locks or _NOBODY) if beside is not None and is_used else at_once
        changes.append(PlannedChange(step.phase, name, step.purpose, locks))
    return changes


async def _additions(database: Database, beside: BesideWriters) -> list[PlannedChange]:
    """Tables, columns and indexes, which are added before the steps that need them."""
    changes = []
    async with database.read() as connection:
        missing = await connection.run_sync(missing_tables_and_columns)
        for table, columns in missing.items():
            purpose = f"Add {', '.join(column.name for column in columns)}" if columns else "Create the table"
            locks = _EVERYONE.format(table.name) if columns else _waiting_for(table)
            changes.append(PlannedChange("before", table.name, purpose, locks))
        for index in await connection.run_sync(missing_indexes):
            assert index.table is not None
            rows = await beside.rows(connection, index.table.name)
            purpose = f"Build the index of {index.table.name}"
            changes.append(PlannedChange("before", str(index.name), purpose, _CONCURRENTLY.format(rows)))
    return changes


def _waiting_for(table: Table) -> str:
    """Who waits for a new table: writers of those that it refers to, and of those that get triggers with it."""
    others = {key.column.table.name for key in table.foreign_keys} | tables_with_triggers_of(table)
    return _WRITERS.format(", ".join(sorted(others - {table.name}))) if others - {table.name} else _NOBODY
