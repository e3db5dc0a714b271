"""The statement with which Postgres stores one step in a thread that exists, made for the fields that the step gives.

Nearly all steps of a process give the same few sets of fields, so each set has a statement of its own: the client sends
and the server computes less than half of what one statement for all fields needs. Each is prepared once per connection.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import compress

from sqlalchemy import Boolean, Integer

from datalayer.records.chat import Step
from datalayer.schema.chat import Identifier, Json, Tags, steps
from datalayer.schema.rows import column_names

COLUMNS = {column: field for field, column in column_names(Step, steps).items()}
"""The field of each column; `id` and `threadId` come first."""
REQUIRED = {"name": "''", "type": "'undefined'", "streaming": "false", "disableFeedback": "false"}
"""Defaults for columns that the official schema declares NOT NULL."""
_MOST = 60


def _type(column: str) -> str:
    kind = steps.c[column].type
    # Tags are sent as JSON, because Postgres has no array of arrays with different lengths.
    if kind is Json or kind is Tags:
        return "jsonb"
    return "uuid" if kind is Identifier else {Boolean: "boolean", Integer: "integer"}.get(type(kind), "text")


TYPES = {column: _type(column) for column in COLUMNS}
"""The type of the parameter of each column."""


@dataclass(frozen=True, slots=True)
class StepStatement:
    """Its parameters are the given values, then the time of the write if it is needed, then a user who acts."""

    sql: str
    json_at: tuple[int, ...]
    """Which of the given values are sent as JSON."""
    has_moment: bool


# The driver keeps a hundred statements per connection.
@lru_cache(_MOST)
def statement_for(
    is_given: tuple[bool, ...], *, created: bool, touches: bool, system: bool, is_known: bool
) -> StepStatement:
    """Build the statement; it stores nothing if the thread or the step does not allow it, or if the step has `extra`.

    Args:
        is_given: for each of the columns, whether the step has a value; `id` and `threadId` have one.
        created: whether this is the creation of the step, which may arrive after a later state.
        touches: whether the write counts as activity in the thread.
        system: whether the system acts, and not the user in the last parameter.
        is_known: whether a step that is not there need not be stored, because this process has stored it before.
    """
    given = list(compress(COLUMNS, is_given))
    values = {column: f"${number}::{TYPES[column]}" for number, column in enumerate(given, 1)}
    has_moment = not created or "createdAt" not in values
    moment, actor = f"${len(given) + 1}::text", f"${len(given) + (2 if has_moment else 1)}::text"
    is_own = "t.id = $2::uuid" if system else f't.id = $2::uuid AND t."userIdentifier" IS NOT DISTINCT FROM {actor}'
    fields = {column: _inserted(column, value) for column, value in values.items()}
    if not created:
        fields["updatedAt"] = moment
    changed = [column for column in fields if column not in ("id", "threadId")]
    if is_known and not created and not touches:
        changes = ", ".join(f'"{column}" = {fields[column]}' for column in changed)
        sql = f"""UPDATE steps SET {changes} FROM threads t
WHERE steps.id = $1::uuid AND steps."threadId" = $2::uuid AND steps.extra IS NULL AND {is_own}
RETURNING true"""  # noqa: S608  made of this file's SQL and our column names
    else:
        inserted = REQUIRED | {"createdAt": moment} | fields
        changes = ", ".join(f'"{column}" = {_changed(column, created=created)}' for column in changed)
        sql = f"""WITH found AS ({_found(is_own, values.get("createdAt", moment), touches=touches)})
INSERT INTO steps ({", ".join(f'"{column}"' for column in inserted)}) SELECT {", ".join(inserted.values())} FROM found
ON CONFLICT (id) DO UPDATE SET {changes or "id = excluded.id"}
WHERE steps."threadId" = excluded."threadId" AND steps.extra IS NULL
RETURNING true"""  # noqa: S608
    json_at = tuple(at for at, column in enumerate(given) if TYPES[column] == "jsonb")
    return StepStatement(sql, json_at, has_moment)


def _found(is_own: str, moment: str, *, touches: bool) -> str:
    """The thread, locked: by the change of its last activity, or so that a deletion waits."""
    if not touches:
        return f"SELECT t.id FROM threads t WHERE {is_own} FOR KEY SHARE"  # noqa: S608
    return f"""UPDATE threads t SET "updatedAt" = greatest(t."updatedAt", {moment}) WHERE {is_own} RETURNING t.id"""  # noqa: S608


def _inserted(column: str, value: str) -> str:
    return f"ARRAY(SELECT jsonb_array_elements_text({value}))" if steps.c[column].type is Tags else value


def _changed(column: str, *, created: bool) -> str:
    new, stored = f'excluded."{column}"', f'steps."{column}"'
    if not created or column == "createdAt":
        return new
    # A creation that arrives after an update only fills missing values.
    known = f"NULLIF({stored}, {REQUIRED[column]})" if column in ("name", "type") else stored
    return f'CASE WHEN steps."updatedAt" IS NULL THEN {new} ELSE COALESCE({known}, {new}) END'
