"""The one statement in which Postgres takes any number of step writes: owners checked, threads made, steps kept.

It goes to asyncpg itself, over a connection of its own, because a step is written with every message, and what
SQLAlchemy's pool and compiler add to the statement is a third of what the statement takes.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Boolean, Integer

from datalayer.records import Step, StepKey, StepWrite
from datalayer.rows import OURS, column_names
from datalayer.schema import Identifier, Json, Tags, steps

_FIELD_OF = {column: field for field, column in column_names(Step, steps).items()}
_COLUMNS = tuple(_FIELD_OF)
# Stored where nothing is given, because the official schema wants a value.
_REQUIRED = {"name": "''", "type": "'undefined'", "streaming": "false", "disableFeedback": "false"}


def _array_type(column: str) -> str:
    kind = steps.c[column].type
    if kind is Identifier:
        return "uuid[]"
    return {Boolean: "boolean[]", Integer: "integer[]"}.get(type(kind), "text[]")


def _inserted(column: str) -> str:
    kind, given = steps.c[column].type, f'i."{column}"'
    if column == "createdAt":
        return 'COALESCE(i."createdAt", i.moment)'
    if column in _REQUIRED:
        return f"COALESCE({given}, {_REQUIRED[column]})"
    if kind is Json:
        return f"{given}::jsonb"
    if kind is Tags:
        return f"CASE WHEN {given} IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text({given}::jsonb)) END"
    return given


def _changed(column: str) -> str:
    stored, new = f'steps."{column}"', f'excluded."{column}"'
    if column == "updatedAt":
        return f"COALESCE({new}, {stored})"
    if column in _REQUIRED or column == "createdAt":
        # `excluded` has what was made up for want of a value; what was given is asked of the input.
        new = f'(SELECT i."{column}" FROM input i WHERE i.id = excluded.id)'  # noqa: S608
    if column == "createdAt":
        return f"COALESCE({new}, {stored})"
    if column == "extra":
        return _EXTRA
    if column in ("name", "type"):
        stored = _stored(column)
        return f"COALESCE(CASE WHEN {_LATE} THEN {stored} END, {new}, {stored}, {_REQUIRED[column]})"
    return f"COALESCE(CASE WHEN {_LATE} THEN {stored} END, {new}, {stored})"


def _stored(column: str) -> str:
    """What the row has, or NULL where it was made up for want of a value."""
    stored = f'steps."{column}"'
    return f"NULLIF({stored}, {_REQUIRED[column]})" if column in ("name", "type") else stored


def _keys_of(value: Callable[[str], str]) -> str:
    """The names of the columns of which the row has a value."""
    named = (column for column in _COLUMNS if column not in OURS)
    cases = (f"CASE WHEN {value(column)} IS NOT NULL THEN '{column}' END" for column in named)
    return f"array_remove(ARRAY[{', '.join(cases)}], NULL)"


def _given(column: str) -> str:
    return f'i."{column}"'


# A creation that comes after an update: it only fills what is missing.
_LATE = 'excluded."updatedAt" IS NULL AND steps."updatedAt" IS NOT NULL'
# A key is in `extra` only if what was said last of it has no column to go to. Nearly always there is nothing in it.
_EXTRA = f"""CASE WHEN steps.extra IS NULL AND excluded.extra IS NULL THEN NULL
    WHEN {_LATE} THEN (COALESCE(excluded.extra, '{{}}') - {_keys_of(_stored)}) || COALESCE(steps.extra, '{{}}')
    ELSE (COALESCE(steps.extra, '{{}}') - (SELECT {_keys_of(_given)} FROM input i WHERE i.id = excluded.id))
        || COALESCE(excluded.extra, '{{}}') END"""  # noqa: S608


_ARRAYS = [*(_array_type(column) for column in _COLUMNS), "text[]", "text[]", "boolean[]", "boolean[]"]
_INPUT = ", ".join(f"${number}::{kind}" for number, kind in enumerate(_ARRAYS, 1))
_NAMES = ", ".join(f'"{column}"' for column in _COLUMNS)

# Made of this file's own words and the names of our columns; every value is a parameter.
STATEMENT = f"""
WITH input AS (
    SELECT * FROM unnest({_INPUT}) AS i({_NAMES}, moment, actor, system, opens)
), touched AS (
    INSERT INTO threads (id, "createdAt", "updatedAt", "userId", "userIdentifier")
    SELECT i."threadId", min(i.at), max(i.at),
        (SELECT u.id FROM users u WHERE u.identifier = min(i.actor)), min(i.actor)
    FROM (SELECT "threadId", COALESCE("createdAt", moment) AS at, actor FROM input WHERE opens) i
    GROUP BY i."threadId"
    ON CONFLICT (id) DO UPDATE SET "updatedAt" = excluded."updatedAt"
    WHERE (threads."updatedAt" IS NULL OR threads."updatedAt" < excluded."updatedAt")
        AND EXISTS (
            SELECT FROM input i WHERE i."threadId" = threads.id
            AND (i.system OR i.actor IS NOT DISTINCT FROM threads."userIdentifier")
        )
    RETURNING id, "userIdentifier"
), allowed AS (
    SELECT id, "userIdentifier" FROM touched
    UNION SELECT t.id, t."userIdentifier" FROM threads t JOIN input i ON i."threadId" = t.id
)
INSERT INTO steps ({_NAMES})
SELECT {", ".join(_inserted(column) for column in _COLUMNS)}
FROM input i JOIN allowed a ON a.id = i."threadId" AND (i.system OR i.actor IS NOT DISTINCT FROM a."userIdentifier")
ON CONFLICT (id) DO UPDATE SET {", ".join(f'"{c}" = {_changed(c)}' for c in _COLUMNS if c not in ("id", "threadId"))}
WHERE steps."threadId" = excluded."threadId"
RETURNING id
"""  # noqa: S608


async def write_steps(connection: Any, writes: Sequence[StepWrite]) -> set[StepKey]:
    """Store the writes, each step at most once among them; gives the keys of those that were not refused.

    Raises:
        asyncpg.PostgresError: none of them was stored.
    """
    arrays: list[list[Any]] = [[_value(one, column) for one in writes] for column in _COLUMNS]
    arrays += [[one.moment for one in writes], [one.actor for one in writes]]
    arrays += [[one.system for one in writes], [one.opens for one in writes]]
    kept = {str(row[0]) for row in await connection.fetch(STATEMENT, *arrays)}
    return {one.key for one in writes if one.step.id in kept}


def _value(one: StepWrite, column: str) -> Any:
    if column == "updatedAt":
        return None if one.created else one.moment
    value = getattr(one.step, _FIELD_OF[column])
    kind = steps.c[column].type
    if value is not None and (kind is Json or kind is Tags):
        return json.dumps(value, ensure_ascii=False)
    return value


def in_rounds(writes: Sequence[StepWrite]) -> list[list[StepWrite]]:
    """The writes in as few groups as hold each step once: a statement cannot change a row twice."""
    rounds: list[dict[str, StepWrite]] = []
    for one in writes:
        free = next((group for group in rounds if one.step.id not in group), None)
        if free is None:
            rounds.append({one.step.id: one})
        else:
            free[one.step.id] = one
    return [list(group.values()) for group in rounds]
