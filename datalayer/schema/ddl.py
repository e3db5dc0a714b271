"""Statements of one engine that follow the creation or the deletion of a table: indexes, functions and triggers."""

import re
from collections.abc import Sequence

from sqlalchemy import DDL, Table, event

_TRIGGER_ON = re.compile(r"CREATE TRIGGER\b.*?\bON (\w+)", re.DOTALL)
_WITH_TRIGGERS = "tables_with_triggers"


def follow(table: Table, moment: str, statements: Sequence[str], engine: str) -> None:
    """Run the statements, in order, at the moment ("after_create" or "after_drop") of a table, on this engine."""
    for statement in statements:
        event.listen(table, moment, DDL(statement).execute_if(dialect=engine))  # type: ignore[no-untyped-call]
        table.info.setdefault(_WITH_TRIGGERS, set()).update(_TRIGGER_ON.findall(statement))


def tables_with_triggers_of(table: Table) -> set[str]:
    """The tables that get triggers when this table is created."""
    found: set[str] = table.info.get(_WITH_TRIGGERS, set())
    return found
