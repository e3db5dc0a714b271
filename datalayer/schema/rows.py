"""Converts records to rows and back. The field `parent_id` is always the column `parentId`."""

from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Column, RowMapping, Table

R = TypeVar("R")

# Columns that do not come from Chainlit's dictionaries. A key with such a name belongs to the application.
OURS = frozenset({"id", "threadId", "extra", "updatedAt", "disableFeedback", "indent", "byteSize", "sha256"})

_NAMES: dict[tuple[type, str], dict[str, str]] = {}


def column_names(record_type: type, table: Table) -> dict[str, str]:
    """Maps field names to column names, for the fields that have a column in the table."""
    if (record_type, table.name) in _NAMES:
        return _NAMES[record_type, table.name]
    camel = {item.name: _camel(item.name) for item in fields(record_type)}
    names = {name: column for name, column in camel.items() if column in table.c}
    _NAMES[record_type, table.name] = names
    return names


def given(record: Any, table: Table) -> dict[str, Any]:
    """The columns for which the record has a value."""
    names = column_names(type(record), table)
    return {column: value for field, column in names.items() if (value := getattr(record, field)) is not None}


def newest_extra(record: Any, table: Table) -> dict[str, Any]:
    """The patch that a later state of a record applies to the stored `extra`; keys that are stored in a column now are
    removed."""
    return dict.fromkeys(key for key in given(record, table) if key not in OURS) | (record.extra or {})


def record_of(record_type: type[R], table: Table, row: RowMapping, prefix: str = "") -> R:
    """The record in a row of columns with this prefix."""
    names = column_names(record_type, table)
    return record_type(**{field: row[prefix + column] for field, column in names.items()})


def columns(record_type: type, table: Table, prefix: str = "") -> list[Column[Any]]:
    """The table's columns for the record, each labelled with the prefix."""
    return [table.c[name].label(prefix + name) for name in column_names(record_type, table).values()]  # type: ignore[misc]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
