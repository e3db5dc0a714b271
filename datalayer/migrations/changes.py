"""The tables, columns and indexes that a database lacks, and how they are added."""

from collections.abc import Collection

from sqlalchemy import Column, Connection, Index, Table, inspect, text
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.schema import CreateIndex

from datalayer.errors import SchemaError
from datalayer.schema.chat import metadata

# A connection of one transaction has this option once no table and no column is missing.
_COMPLETE = "tables_and_columns_complete"


def missing_tables_and_columns(connection: Connection) -> dict[Table, list[Column[object]]]:
    """The tables that are missing, without columns, and those that lack columns, with these; in order of creation."""
    # On Postgres, a query for all tables instead of three for each.
    found = inspect(connection).get_multi_columns(filter_names=[*metadata.tables], kind=ObjectKind.ANY)
    missing: dict[Table, list[Column[object]]] = {}
    for table in metadata.sorted_tables:
        if (None, table.name) not in found:
            missing[table] = []
        else:
            there = {column["name"] for column in found[None, table.name]}
            if columns := [column for column in table.columns if column.name not in there]:
                missing[table] = columns
    return missing


def missing_indexes(connection: Connection, only: Collection[str] | None = None) -> list[Index]:
    """The indexes that existing tables lack, or those of these names."""
    wanted = {
        table: sorted((str(index.name), index) for index in table.indexes if only is None or index.name in only)
        for table in metadata.sorted_tables
    }
    names = [table.name for table, indexes in wanted.items() if indexes]
    found = inspect(connection).get_multi_indexes(filter_names=names) if names else {}
    missing = []
    for table, indexes in wanted.items():
        if (None, table.name) in found:
            there = {index["name"] for index in found[None, table.name]}
            missing += [index for name, index in indexes if name not in there]
    return missing


def add_table_or_columns(connection: Connection, table: Table, columns: Collection[Column[object]]) -> None:
    """Create the table, or add the columns to it."""
    if not columns:
        table.create(connection, checkfirst=True)
    for column in columns:
        _add_column(connection, table, column)


def add_tables_and_columns(connection: Connection) -> None:
    """Add missing tables and columns. Indexes are left out, because existing data may violate a unique one.

    The tables are read once for a connection, although many migrations of a new database ask for it: no migration
    removes a table or a column, and reading all tables takes as long as creating them.
    """
    if connection.get_execution_options().get(_COMPLETE):
        return
    for table, columns in missing_tables_and_columns(connection).items():
        add_table_or_columns(connection, table, columns)
    connection.execution_options(**{_COMPLETE: True})


def add_indexes(connection: Connection, only: Collection[str] | None = None) -> None:
    """Add the missing indexes, or those of these names, within the transaction."""
    for index in missing_indexes(connection, only):
        connection.execute(CreateIndex(index))


def _add_column(connection: Connection, table: Table, column: Column[object]) -> None:
    if not column.nullable and column.server_default is None:
        raise SchemaError(f"table {table.name} lacks the column {column.name}, so it is not a table of Chainlit's")
    specification = connection.dialect.ddl_compiler(connection.dialect, None).get_column_specification(column)  # type: ignore[arg-type]
    connection.execute(text(f'ALTER TABLE "{table.name}" ADD COLUMN {specification}'))
