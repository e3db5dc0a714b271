"""The statement with which Postgres stores step writes: it checks the owners, creates the threads and stores the steps.

It runs through asyncpg on a connection of its own, because every message writes a step and SQLAlchemy's pool and
compiler would add a third to the time of the statement.

The statement has two forms that differ only in its `input`. Several writes are sent as one array per column. A single
write is sent as plain values, because unpacking thirty arrays of one value doubles the server's work.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import attrgetter, is_not
from typing import Any

from datalayer.dialects.lone import UNDECIDED, LoneStatement
from datalayer.dialects.postgresql_lone_steps import COLUMNS, REQUIRED, TYPES, statement_for
from datalayer.dialects.postgresql_statements import to_json
from datalayer.records.writes import StepKey, StepWrite
from datalayer.schema.chat import Tags, steps
from datalayer.schema.rows import OURS

_NAMES = ", ".join(f'"{column}"' for column in COLUMNS)
# In `excluded` these columns may contain a default, so the statement looks up the given value in the input.
_MADE_UP = (*REQUIRED, "createdAt")
# Besides the columns: the time of the write, the acting user, whether the system acts, and whether the write creates
# its thread.
_BESIDE = {"at": "text", "actor": "text", "system": "boolean", "opens": "boolean"}
_PARAMETERS = TYPES | _BESIDE
_NUMBERS = {name: number for number, name in enumerate(_PARAMETERS, 1)}
_ABSENT_FROM = len(_PARAMETERS) + 1

_ABSENT = {column: number for number, column in enumerate(_MADE_UP, len(_PARAMETERS) + 1)}


@dataclass(frozen=True)
class _Source:
    """The parts of the statement that depend on the form of its input."""

    input: str
    given: Callable[[str], str]
    """The given value of a column of the conflicting step; NULL if none was given."""
    earliest: str
    latest: str
    by_thread: str


def _given_alone(column: str) -> str:
    return f"${_NUMBERS[column]}::{_PARAMETERS[column]}"


def _given_among_many(column: str) -> str:
    # An array lists the steps without a value; looking up each step in the input would take quadratic time.
    return f'CASE WHEN excluded.id <> ALL (${_ABSENT[column]}::uuid[]) THEN excluded."{column}" END'


_VALUES = ", ".join(f'${number}::{_PARAMETERS[name]} AS "{name}"' for name, number in _NUMBERS.items())
_ARRAYS = ", ".join(f"${number}::{_PARAMETERS[name]}[]" for name, number in _NUMBERS.items())
_ALONE = _Source(f"NOT MATERIALIZED (SELECT {_VALUES})", _given_alone, "i.at", "i.at", "")
_MANY = _Source(
    f"MATERIALIZED (SELECT * FROM unnest({_ARRAYS}) AS i({_NAMES}, {', '.join(_BESIDE)}))",  # noqa: S608
    _given_among_many,
    "min(i.at)",
    "max(i.at)",
    'GROUP BY i."threadId"',
)


def _inserted(column: str) -> str:
    given = f'i."{column}"'
    if column == "createdAt":
        return "i.at"
    if column in REQUIRED:
        return f"COALESCE({given}, {REQUIRED[column]})"
    if steps.c[column].type is Tags:
        return f"CASE WHEN {given} IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text({given})) END"
    return given


def _changed(column: str, source: _Source) -> str:
    stored = f'steps."{column}"'
    new = source.given(column) if column in _MADE_UP else f'excluded."{column}"'
    if column in ("updatedAt", "createdAt"):
        return f"COALESCE({new}, {stored})"
    if column == "extra":
        return _EXTRA
    if column in ("name", "type"):
        stored = _stored(column)
        return f"COALESCE(CASE WHEN {_LATE} THEN {stored} END, {new}, {stored}, {REQUIRED[column]})"
    return f"COALESCE(CASE WHEN {_LATE} THEN {stored} END, {new}, {stored})"


def _stored(column: str) -> str:
    """The stored value of the row; NULL if it is a default."""
    stored = f'steps."{column}"'
    return f"NULLIF({stored}, {REQUIRED[column]})" if column in ("name", "type") else stored


def _keys_of(value: Callable[[str], str]) -> str:
    """The names of the columns for which the row has a value."""
    named = (column for column in COLUMNS if column not in OURS)
    cases = (f"CASE WHEN {value(column)} IS NOT NULL THEN '{column}' END" for column in named)
    return f"array_remove(ARRAY[{', '.join(cases)}], NULL)"


def _given(column: str) -> str:
    return f'i."{column}"'


# A creation that arrives after an update only fills missing values.
_LATE = 'excluded."updatedAt" IS NULL AND steps."updatedAt" IS NOT NULL'
# A key is in `extra` only if its last value has no suitable column. `extra` is nearly always empty.
_EXTRA = f"""CASE WHEN steps.extra IS NULL AND excluded.extra IS NULL THEN NULL
    WHEN {_LATE} THEN (COALESCE(excluded.extra, '{{}}') - {_keys_of(_stored)}) || COALESCE(steps.extra, '{{}}')
    ELSE (COALESCE(steps.extra, '{{}}') - (SELECT {_keys_of(_given)} FROM input i WHERE i.id = excluded.id))
        || COALESCE(excluded.extra, '{{}}') END"""  # noqa: S608


def _may_write(owner: str) -> str:
    return f'(i.system OR i.actor IS NOT DISTINCT FROM {owner}."userIdentifier")'


def _statement(source: _Source) -> str:
    """Build the statement from this file's SQL and our column names; every value is a parameter."""
    changed = [column for column in COLUMNS if column not in ("id", "threadId")]
    changes = ", ".join(f'"{column}" = {_changed(column, source)}' for column in changed)
    parts = [
        f"input AS {source.input}",
        """found AS (
    SELECT t.id, t."userIdentifier" FROM threads t WHERE t.id IN (SELECT i."threadId" FROM input i) FOR KEY SHARE
)""",
        _touched(source),
        _opened(source),
        'allowed AS (SELECT id, "userIdentifier" FROM found UNION ALL SELECT id, "userIdentifier" FROM opened)',
        f"""written AS (
    INSERT INTO steps ({_NAMES})
    SELECT {", ".join(_inserted(column) for column in COLUMNS)}
    FROM input i JOIN allowed a ON a.id = i."threadId" AND {_may_write("a")}
    ON CONFLICT (id) DO UPDATE SET {changes}
    WHERE steps."threadId" = excluded."threadId"
    RETURNING id
)""",  # noqa: S608
    ]
    return f"WITH {', '.join(parts)}\nSELECT id FROM written"


def _touched(source: _Source) -> str:
    return f"""touched AS (
    UPDATE threads SET "updatedAt" = activity.latest
    FROM (
        SELECT i."threadId", {source.latest} AS latest
        FROM input i JOIN found f ON f.id = i."threadId" AND {_may_write("f")} WHERE i.opens {source.by_thread}
    ) activity
    WHERE threads.id = activity."threadId" AND (threads."updatedAt" IS NULL OR threads."updatedAt" < activity.latest)
)"""  # noqa: S608


def _opened(source: _Source) -> str:
    actor = "min(i.actor)" if source.by_thread else "i.actor"
    # A thread that another replica created since the statement began is not in `found`; it is handled as a conflict.
    return f"""opened AS (
    INSERT INTO threads (id, "createdAt", "updatedAt", "userId", "userIdentifier")
    SELECT i."threadId", {source.earliest}, {source.latest},
        (SELECT u.id FROM users u WHERE u.identifier = {actor}), {actor}
    FROM input i WHERE i.opens AND NOT EXISTS (SELECT FROM found f WHERE f.id = i."threadId") {source.by_thread}
    ON CONFLICT (id) DO UPDATE SET "updatedAt" = GREATEST(threads."updatedAt", excluded."updatedAt")
    WHERE EXISTS (SELECT FROM input i WHERE i."threadId" = threads.id AND {_may_write("threads")})
    RETURNING id, "userIdentifier"
)"""  # noqa: S608


MANY = _statement(_MANY)
ALONE = _statement(_ALONE)

Execute = Callable[[str, Sequence[Any]], Awaitable[Sequence[Any]]]
"""Runs a statement with its values."""

_MOST_KNOWN = 20_000
_fields_of = attrgetter(*COLUMNS.values())
_NONES = (None,) * len(COLUMNS)
_JSON_AT = tuple(at for at, column in enumerate(COLUMNS) if _PARAMETERS[column] == "jsonb")
_UPDATED_AT = list(COLUMNS).index("updatedAt")
_MADE_UP_AT = tuple(list(COLUMNS).index(column) for column in _MADE_UP)


class StepWriter:
    """Writes steps, and remembers which threads and steps exist."""

    def __init__(self) -> None:
        self._known: set[str | None] = set()

    async def write(self, execute: Execute, writes: Sequence[StepWrite]) -> set[StepKey]:
        """Store the writes, which contain each step at most once; returns the keys of those that were not refused.

        Raises:
            asyncpg.PostgresError: none of them was stored.
        """
        if len(writes) > 1:
            kept = await _write_many(execute, writes)
        else:
            kept = {writes[0].key} if await execute(ALONE, _values(writes[0])) else set()
        for step_id, thread_id, _, _ in kept:
            self.remember(step_id, thread_id)
        return kept

    def lone(self, write: StepWrite) -> LoneStatement:
        """The shortest statement that stores the write if thread and step, as nearly always, are as this process knows
        them."""
        step, known = write.step, self._known
        if step.extra is None and step.thread_id is not None and (not write.opens or step.thread_id in known):
            # An edited question is kept in a table that refers to the thread, so the thread has to be locked first.
            is_known = step.id in known and step.type is not None and step.type != "user_message"
            sql, values = _in_known_thread(write, is_known=is_known)
        else:
            sql, values = ALONE, _values(write)

        def result(rows: Sequence[Any]) -> Any:
            if rows:
                self.remember(step.id, step.thread_id)
                return None
            # The step has keys without a column, its thread was deleted, or the write is refused.
            known.discard(step.thread_id)
            known.discard(step.id)
            return UNDECIDED

        return LoneStatement(sql, values, result)

    def remember(self, *ids: str | None) -> None:
        """These threads or steps exist; a write of a step does not rely on it."""
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        self._known.update(ids)


async def _write_many(execute: Execute, writes: Sequence[StepWrite]) -> set[StepKey]:
    rows = [_values(one) for one in writes]
    # An array of only NULL is not sent and not unpacked.
    arrays = [None if not any(value is not None for value in column) else column for column in zip(*rows, strict=True)]
    absent = [[row[0] for row in rows if row[at] is None] for at in _MADE_UP_AT]
    kept = {str(row[0]) for row in await execute(MANY, [*arrays, *absent])}
    return {one.key for one in writes if one.step.id in kept}


def _values(one: StepWrite) -> list[Any]:
    """The values of a write in the order of the parameters."""
    step = one.step
    values = [*_fields_of(step), step.created_at or one.moment, one.actor, one.system, one.opens]
    for at in _JSON_AT:
        if values[at] is not None:
            values[at] = to_json(values[at])
    values[_UPDATED_AT] = None if one.created else one.moment
    return values


def _in_known_thread(one: StepWrite, *, is_known: bool) -> tuple[str, list[Any]]:
    """The statement for the fields that the step gives, and its values; `is_known` as in `statement_for`."""
    fields = _fields_of(one.step)
    # A tuple of truth values is found faster than one of names, and made without a loop of Python's.
    given = tuple(map(is_not, fields, _NONES))
    values = list(compress(fields, given))
    statement = statement_for(given, created=one.created, touches=one.opens, system=one.system, is_known=is_known)
    for at in statement.json_at:
        values[at] = to_json(values[at])
    if statement.has_moment:
        values.append(one.moment)
    if not one.system:
        values.append(one.actor)
    return statement.sql, values


def in_rounds(writes: Sequence[StepWrite]) -> list[list[StepWrite]]:
    """The writes in as few groups as possible, each step once per group: a statement cannot change a row twice."""
    if len(writes) == 1:
        return [list(writes)]
    rounds: list[dict[str, StepWrite]] = []
    for one in writes:
        free = next((group for group in rounds if one.step.id not in group), None)
        if free is None:
            rounds.append({one.step.id: one})
        else:
            free[one.step.id] = one
    return [list(group.values()) for group in rounds]
