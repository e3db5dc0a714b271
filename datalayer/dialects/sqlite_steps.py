"""The statements with which SQLite stores step writes: they check the owners, create the threads and store the steps.

They run through the driver, in one transaction and one call into the thread of the connection. Through SQLAlchemy and
aiosqlite a step took three statements that were built anew, and a dozen changes of thread. The texts of the statements
never change, so the driver keeps them prepared.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from datalayer.records.chat import Step
from datalayer.records.writes import StepKey, StepWrite
from datalayer.schema.chat import Json, Tags, steps
from datalayer.schema.rows import OURS, column_names, newest_extra

_FIELD_OF = {column: field for field, column in column_names(Step, steps).items()}
_COLUMNS = tuple(_FIELD_OF)
_NUMBERS = {column: number for number, column in enumerate(_COLUMNS, 1)}
_EXTRA = _COLUMNS.index("extra")
# Defaults for columns that the official schema declares NOT NULL.
_REQUIRED = {"name": "''", "type": "'undefined'", "streaming": "0", "disableFeedback": "0"}
_MOMENT, _STORED_EXTRA = len(_COLUMNS) + 1, len(_COLUMNS) + 2
_JSON_AT = tuple(at for at, column in enumerate(_COLUMNS) if steps.c[column].type in (Json, Tags))
_fields_of = attrgetter(*_FIELD_OF.values())

_OWNER = 'SELECT "userIdentifier" FROM threads WHERE id = ?'
_OPEN = """
INSERT INTO threads (id, "createdAt", "updatedAt", "userId", "userIdentifier")
VALUES (?1, ?2, ?2, (SELECT id FROM users WHERE identifier = ?3), ?3)
"""
_TOUCH = 'UPDATE threads SET "updatedAt" = ?2 WHERE id = ?1 AND ("updatedAt" IS NULL OR "updatedAt" < ?2)'
_NAMES = ", ".join(f'"{column}"' for column in _COLUMNS)
_STORED = f"SELECT {_NAMES} FROM steps WHERE id = ?"  # noqa: S608  of our column names, as below

_IS_LATE = 'steps."updatedAt" IS NOT NULL'


def _inserted(column: str) -> str:
    if column == "createdAt":
        return f"COALESCE(?{_NUMBERS[column]}, ?{_MOMENT})"
    if column in _REQUIRED:
        return f"COALESCE(?{_NUMBERS[column]}, {_REQUIRED[column]})"
    return f"?{_NUMBERS[column]}"


def _changed(column: str, *, created: bool) -> str:
    stored, new = f'steps."{column}"', f"?{_NUMBERS[column]}"
    if column == "extra":
        return new
    if not created or column == "createdAt":
        return f"COALESCE({new}, {stored})"
    # A creation that arrives after an update only fills missing values; a default counts as missing.
    known = f"NULLIF({stored}, {_REQUIRED[column]})" if column in ("name", "type") else stored
    return f"COALESCE(CASE WHEN {_IS_LATE} THEN {known} END, {new}, {stored})"


def _upsert(*, created: bool) -> str:
    """The statement of a creation, or of a later state of a step.

    It stores nothing if the step is in another thread, or if its `extra` is not the one for which the new one was made.
    """
    left_alone = ("id", "threadId", *(("updatedAt",) if created else ()))
    changes = (f'"{column}" = {_changed(column, created=created)}' for column in _COLUMNS if column not in left_alone)
    return f"""
INSERT INTO steps ({_NAMES})
VALUES ({", ".join(_inserted(column) for column in _COLUMNS)})
ON CONFLICT (id) DO UPDATE SET {", ".join(changes)}
WHERE steps."threadId" = excluded."threadId" AND steps.extra IS ?{_STORED_EXTRA}
"""  # noqa: S608


CREATED = _upsert(created=True)
LATER = _upsert(created=False)


@dataclass(slots=True)
class _Thread:
    """A thread of a batch. `latest`: the latest activity that is not stored yet."""

    exists: bool
    owner: str | None
    latest: str = ""


def write(connection: Any, writes: Sequence[StepWrite]) -> set[StepKey]:
    """Store the writes in order in one transaction; returns the keys of which no write was refused.

    Raises:
        sqlite3.Error: none of them was stored.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        kept = _write_all(connection, writes)
        connection.execute("COMMIT")
    except BaseException:
        # Some errors, such as a full disk, have ended the transaction already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return kept


def _write_all(connection: Any, writes: Sequence[StepWrite]) -> set[StepKey]:
    threads: dict[str, _Thread] = {}
    refused: set[StepKey] = set()
    for one in writes:
        thread_id = one.step.thread_id or ""
        thread = threads.get(thread_id)
        if thread is None:
            found = connection.execute(_OWNER, (thread_id,)).fetchone()
            thread = threads[thread_id] = _Thread(found is not None, found[0] if found else None)
        if not (one.opens or thread.exists) or (thread.exists and not one.system and one.actor != thread.owner):
            refused.add(one.key)
            continue
        if one.opens:
            _note_activity(connection, thread_id, thread, one)
        # A thread that was deleted is not there: a trigger has skipped it.
        if not thread.exists or not _store(connection, one):
            refused.add(one.key)
    for thread_id, thread in threads.items():
        if thread.latest:
            connection.execute(_TOUCH, (thread_id, thread.latest))
    return {one.key for one in writes} - refused


def _note_activity(connection: Any, thread_id: str, thread: _Thread, one: StepWrite) -> None:
    moment = one.step.created_at or one.moment
    if thread.exists:
        thread.latest = max(thread.latest, moment)
        return
    if connection.execute(_OPEN, (thread_id, moment, one.actor)).rowcount:
        thread.exists, thread.owner = True, one.actor


def _store(connection: Any, one: StepWrite) -> bool:
    """Whether the step is stored, and not in another thread."""
    statement, values = CREATED if one.created else LATER, _values(one)
    if one.step.extra is None and connection.execute(statement, (*values, None)).rowcount:
        return True
    # The step has, or had, keys without a column, or it is in another thread.
    row = connection.execute(_STORED, (one.step.id,)).fetchone()
    stored = dict(zip(_COLUMNS, row, strict=True)) if row else None
    if stored is not None:
        if stored["threadId"] != one.step.thread_id:
            return False
        values[_EXTRA] = _extra(one, stored)
    before = stored["extra"] if stored else None
    return bool(connection.execute(statement, (*values, before)).rowcount)


def _extra(one: StepWrite, stored: dict[str, Any]) -> str | None:
    """The new `extra`: a key is in it only if its last value does not fit a column."""
    before = json.loads(stored["extra"]) if stored["extra"] else {}
    given = one.step.extra or {}
    if one.created and stored["updatedAt"] is not None:
        # It arrives late: it adds what is known neither there nor in a column.
        known = {column for column, value in stored.items() if column not in OURS and not _is_default(column, value)}
        merged = {**{key: value for key, value in given.items() if key not in known}, **before}
    else:
        merged = {**before, **newest_extra(one.step, steps)}
    merged = {key: value for key, value in merged.items() if value is not None}
    return json.dumps(merged) if given or stored["extra"] is not None else None


def _is_default(column: str, value: object) -> bool:
    return value is None or (column in ("name", "type") and f"'{value}'" == _REQUIRED[column])


def _values(one: StepWrite) -> list[Any]:
    """The values of a write: of each column, and its time."""
    values = list(_fields_of(one.step))
    for at in _JSON_AT:
        if values[at] is not None:
            values[at] = json.dumps(values[at])
    values[_NUMBERS["updatedAt"] - 1] = None if one.created else one.moment
    values.append(one.moment)
    return values
