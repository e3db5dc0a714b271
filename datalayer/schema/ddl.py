"""Statements of one engine that follow the creation or the deletion of a table: indexes, functions and triggers."""

from collections.abc import Sequence

from sqlalchemy import DDL, Table, event


def follow(table: Table, moment: str, statements: Sequence[str], engine: str) -> None:
    """Run the statements, in order, at the moment ("after_create" or "after_drop") of a table, on this engine."""
    for statement in statements:
        event.listen(table, moment, DDL(statement).execute_if(dialect=engine))  # type: ignore[no-untyped-call]
