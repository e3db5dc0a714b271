"""The format of a takeout: one ZIP that a person can read and that `import_` can import completely.

    manifest.json                         format, version, counts, and size and SHA-256 of every other entry
    user.json                             the user's row; never a password
    threads/00001 2026-11-21 Title/
        thread.json                       the thread's row
        steps.jsonl  elements.jsonl       a row in each line, all columns, in order of time
        feedbacks.jsonl  feedback_changes.jsonl   the votes and their history
        step_versions.jsonl               earlier versions of edited messages, and messages that an edit removed
        files/00001 picture.png           the files; `file` in a line of elements.jsonl names its entry
    feedbacks.jsonl  feedback_changes.jsonl       the user's votes in other people's threads
    llm_calls.jsonl  llm_call_payloads.jsonl      the user's calls to models and their messages
    assistants.jsonl  assistant_versions.jsonl  assistant_pictures.jsonl   the assistants that the user owns
    prompts.jsonl                                 the prompts that the user keeps

Tables are JSON lines, so that neither export nor import has a whole thread in memory. The format does not depend on the
database engine or the blob store.
"""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Float, Table, func
from sqlalchemy.types import TypeEngine

from datalayer.cleaning import clean_id, clean_json
from datalayer.errors import InvalidRecord
from datalayer.schema.chat import (
    Identifier,
    Json,
    Tags,
    elements,
    feedback_changes,
    feedbacks,
    steps,
)
from datalayer.schema.review import step_versions
from datalayer.schema.usage import Money

FORMAT = "threadkeeper-takeout"
VERSION = 1
MANIFEST = "manifest.json"
USER = "user.json"
THREAD = "thread.json"
FILE = "file"

# The tables in the order of writing, each with the columns that order its rows.
VOTES: dict[Table, ColumnElement[str]] = {
    feedbacks: func.coalesce(feedbacks.c.updatedAt, ""),
    feedback_changes: func.coalesce(feedback_changes.c.changedAt, ""),
}
IN_A_THREAD: dict[Table, ColumnElement[str]] = {
    steps: func.coalesce(steps.c.createdAt, ""),
    elements: func.coalesce(elements.c.createdAt, ""),
    **VOTES,
    step_versions: func.coalesce(step_versions.c.replacedAt, ""),
}

_LONGEST_NAME_BYTES = 100
_NOT_IN_A_NAME = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\:*?"<>|]+')


def lines_name(folder: str, table: Table) -> str:
    """The name of the entry with the table's rows."""
    return f"{folder}{table.name}.jsonl"


def readable(text: str | None, otherwise: str) -> str:
    """The text as a part of an entry's name that is valid on every file system, with its extension."""
    name = _NOT_IN_A_NAME.sub(" ", text or "").strip(". ") or otherwise
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending.encode()) > 20:
        stem, dot, ending = name, "", ""
    room = _LONGEST_NAME_BYTES - len((dot + ending).encode())
    return stem.encode()[:room].decode(errors="ignore").strip() + dot + ending


def is_damaged(element: Mapping[str, Any], size: int, sha256: str) -> bool:
    """Whether this size and SHA-256 of a file differ from the element's row."""
    return element["byteSize"] not in (None, size) or element["sha256"] not in (None, sha256)


def stored_columns(table: Table) -> list[Column[Any]]:
    """The columns of a row in a takeout: those that do not follow from other rows."""
    return [column for column in table.columns if not column.info.get("is_derived")]


def checked_row(table: Table, row: Any) -> dict[str, Any]:
    """The row with a value of the right type for each column of the table.

    Raises:
        InvalidRecord: the row is not an object, has an unknown column, or a value of the wrong type.
    """
    if not isinstance(row, dict):
        raise InvalidRecord(f"a row of {table.name} is not a JSON object")
    columns = stored_columns(table)
    if unknown := sorted(row.keys() - {column.name for column in columns}):
        raise InvalidRecord(f"{table.name} has no column {unknown[0][:60]!r}; was the takeout made by a newer version?")
    return {column.name: _checked(table, column, row.get(column.name)) for column in columns}


def _checked(table: Table, column: Column[Any], value: Any) -> Any:
    what = f"{table.name}.{column.name}"
    if value is None:
        if not column.nullable and column.server_default is None:
            raise InvalidRecord(f"{what} has no value")
        return None if column.nullable else False
    if column.type is Identifier:
        return clean_id(value, what)
    if column.type is Money:
        return _money(value, what)
    if not _fits(column.type, value):
        raise InvalidRecord(f"{what} has a value of the wrong type")
    return clean_json(value)


def _money(value: Any, what: str) -> Decimal:
    try:
        return Decimal(value if isinstance(value, str) else "")
    except InvalidOperation:
        raise InvalidRecord(f"{what} has a value of the wrong type") from None


def _fits(kind: TypeEngine[Any], value: Any) -> bool:
    if kind is Json:
        return True
    if kind is Tags:
        return isinstance(value, list) and all(isinstance(tag, str) for tag in value)
    if isinstance(value, bool):
        return kind.python_type is bool
    if isinstance(kind, Float):
        return isinstance(value, int | float)
    if isinstance(value, int):
        most = 2**63 if isinstance(kind, BigInteger) else 2**31
        return kind.python_type is int and -most <= value < most
    return kind.python_type is str and isinstance(value, str)
