"""What a migration would do: which changes are due, in which phase, and who waits for them. Nothing is changed."""

from dataclasses import dataclass

from datalayer.database import Database
from datalayer.dialects import BesideWriters
from datalayer.migrations.changes import missing_indexes, missing_tables_and_columns
from datalayer.migrations.run import pending_migrations, pending_removals
from datalayer.migrations.steps import STEPS, Phase

_WHOLE_FILE = "the whole file is locked for writers until all steps are done; readers go on"
_NO_TABLES = "none: nobody uses the database yet"
_CATALOGUE = (
    "ACCESS EXCLUSIVE on {}, to change the catalogue alone; if it is not granted within 0.5 s, the others go first"
)
_REFERENCED = "none on other rows; SHARE ROW EXCLUSIVE on the tables that it refers to, to change the catalogue alone"
_CONCURRENTLY = "none that readers or writers wait for (CONCURRENTLY); reads about {:,} rows"
_ROWS = "the rows that it writes"


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """One change: the phase, the migration's name or what is added, what it is for, and who waits for it."""

    phase: Phase
    name: str
    purpose: str
    locks: str


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
    for name in (*names, *removals):
        step = STEPS[name]
        locks = _WHOLE_FILE if beside is None else (step.locks or _ROWS) if is_used else _NO_TABLES
        changes.append(PlannedChange(step.phase, name, step.purpose, locks))
    return changes


async def _additions(database: Database, beside: BesideWriters) -> list[PlannedChange]:
    """Tables, columns and indexes, which are added before the steps that need them."""
    changes = []
    async with database.read() as connection:
        missing = await connection.run_sync(missing_tables_and_columns)
        for table, columns in missing.items():
            purpose = f"Add {', '.join(column.name for column in columns)}" if columns else "Create the table"
            locks = _CATALOGUE.format(table.name) if columns else _REFERENCED
            changes.append(PlannedChange("before", table.name, purpose, locks))
        for index in await connection.run_sync(missing_indexes):
            assert index.table is not None
            rows = await beside.rows(connection, index.table.name)
            purpose = f"Build the index of {index.table.name}"
            changes.append(PlannedChange("before", str(index.name), purpose, _CONCURRENTLY.format(rows)))
    return changes
