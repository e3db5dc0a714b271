"""Upgrades a database to the schema of this code: the steps, how they are applied, and what is due."""

from datalayer.migrations.changes import add_tables_and_columns
from datalayer.migrations.partitions import add_partitions
from datalayer.migrations.plan import PlannedChange, plan
from datalayer.migrations.run import apply_pending, is_new, locked, migrate, pending_migrations, pending_removals

__all__ = [
    "PlannedChange",
    "add_partitions",
    "add_tables_and_columns",
    "apply_pending",
    "is_new",
    "locked",
    "migrate",
    "pending_migrations",
    "pending_removals",
    "plan",
]
