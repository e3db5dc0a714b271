"""The partitions of `llm_call_payloads` by month: made ahead, and dropped when they have expired (ADR 0042).

A change takes its locks in the order in which a write of a call takes them, gives up each of them after a fifth of a
second, and changes the catalogue alone, so that nobody waits for long.
"""

import asyncio
import logging
from typing import Any

from sqlalchemy import Select, create_mock_engine, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from datalayer.schema.usage import llm_call_payloads

logger = logging.getLogger(__name__)

BOUND = "llm_call_payloads_bound"
"""The check of a table that is about to become the partition of everything before a month."""
UNIQUE_INDEX = "llm_call_payloads_key"
"""The index that becomes the primary key of that partition."""
_NOT_AVAILABLE, _NO_PRIVILEGE, _NO_TABLE = "55P03", "42501", "42P01"
# Postgres looks through the partition of other times for each one that is added, so none is added beside a large one.
_MOST_OTHER_BYTES = 64 * 1024**2
_LOCK_ATTEMPTS, _UNBIND_ATTEMPTS, _LOCK_PAUSE_SECONDS = 120, 10, 1.0
# Writers queue behind each of the two locks, so they wait for both, and for the change.
_SOON_TIMEOUT = "200ms"
_SOON = f"SET LOCAL lock_timeout = '{_SOON_TIMEOUT}'"
# An autovacuum gives up only for somebody who waits for longer than a second. Readers and writers do not wait for this
# lock, and no autovacuum begins while it is held.
_NO_VACUUM = (
    "SET LOCAL lock_timeout = '5s'",
    "LOCK TABLE ONLY llm_calls, ONLY llm_call_payloads IN SHARE UPDATE EXCLUSIVE MODE",
)
# Also the calls, because the foreign key of the partition to them is dropped with it.
_LOCK = "LOCK TABLE ONLY llm_calls, ONLY llm_call_payloads IN ACCESS EXCLUSIVE MODE"
_SINCE = "coalesce(substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \\(''([^'']+)''\\)'), '')"
_UNTIL = "substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \\(''([^'']+)''\\)')"
_PARTS = "pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass('llm_call_payloads')"
_OTHER_BYTES = text("SELECT pg_relation_size(to_regclass('llm_call_payloads_other'))")
# A month that a partition covers is left out, and so is one with rows in the partition of other times, where they stay.
_ADD = f"""
DO $$
DECLARE
    month timestamp := date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC');
    part text;
    since text;
    until text;
    is_locked boolean := false;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = to_regclass('llm_call_payloads')) IS DISTINCT FROM 'p' THEN
        RETURN;
    END IF;
    FOR ahead IN 0..3 LOOP
        part := 'llm_call_payloads_' || to_char(month + make_interval(months => ahead), 'YYYY_MM');
        since := to_char(month + make_interval(months => ahead), 'YYYY-MM') || '-01T00:00:00.000000Z';
        until := to_char(month + make_interval(months => ahead + 1), 'YYYY-MM') || '-01T00:00:00.000000Z';
        IF to_regclass(part) IS NULL
            AND NOT EXISTS (SELECT 1 FROM {_PARTS} AND {_UNTIL} > since AND {_SINCE} <= since)
            AND NOT EXISTS (
                SELECT 1 FROM llm_call_payloads_other o WHERE o."createdAt" >= since AND o."createdAt" < until
            ) THEN
            IF NOT is_locked THEN
                PERFORM set_config('lock_timeout', '5s', true);
                LOCK TABLE ONLY llm_calls, ONLY llm_call_payloads IN SHARE UPDATE EXCLUSIVE MODE;
                PERFORM set_config('lock_timeout', '{_SOON_TIMEOUT}', true);
                LOCK TABLE ONLY llm_calls IN SHARE ROW EXCLUSIVE MODE;
                LOCK TABLE ONLY llm_call_payloads IN ACCESS EXCLUSIVE MODE;
                is_locked := true;
            END IF;
            EXECUTE 'CREATE TABLE ' || part || ' PARTITION OF llm_call_payloads FOR VALUES FROM ('
                || quote_literal(since) || ') TO (' || quote_literal(until) || ')';
        END IF;
    END LOOP;
END $$
"""  # noqa: S608  of the texts above
_EXPIRED = text(
    f"""SELECT name, since, until FROM (SELECT c.relname AS name, {_SINCE} AS since, {_UNTIL} AS until FROM {_PARTS}) p
    WHERE until <= :before ORDER BY until"""  # noqa: S608  of the texts above
)
_KIND = text("SELECT relkind::text FROM pg_class WHERE oid = to_regclass('llm_call_payloads')")
_INDEX = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
_MONTH_OF_BOUND = "substring(pg_get_constraintdef(oid) FROM '''([^'']+)''')"
_OF_BOUND = f"pg_constraint WHERE conrelid = to_regclass('llm_call_payloads') AND conname = '{BOUND}'"
_CHECK = text(f"SELECT {_MONTH_OF_BOUND} FROM {_OF_BOUND}")  # noqa: S608
# A migration that was killed leaves the check behind. It is dropped a month before it would refuse a payload.
_DROP_OLD_CHECK = f"""
    IF EXISTS (SELECT 1 FROM {_OF_BOUND} AND {_MONTH_OF_BOUND}
        < to_char((clock_timestamp() AT TIME ZONE 'UTC') + interval '1 month', 'YYYY-MM-DD')) THEN
        ALTER TABLE llm_call_payloads DROP CONSTRAINT {BOUND};
    END IF;
"""  # noqa: S608
_LOOSEN = f"DO $$ BEGIN {_DROP_OLD_CHECK} END $$"
# The month is far ahead for the same reason.
_BIND = f"""
DO $$
BEGIN
    PERFORM set_config('lock_timeout', '500ms', true);
    {_DROP_OLD_CHECK}
    IF NOT EXISTS (SELECT 1 FROM {_OF_BOUND}) THEN
        EXECUTE 'ALTER TABLE llm_call_payloads ADD CONSTRAINT {BOUND} CHECK ("createdAt" < ' || quote_literal(
            to_char(date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') + interval '3 months', 'YYYY-MM')
            || '-01T00:00:00.000000Z') || ') NOT VALID';
    END IF;
END $$
"""  # noqa: S608
# A clock was wrong. The check refuses such times from now on, so that none is added.
_DATE_NOW = text(
    """UPDATE llm_call_payloads
    SET "createdAt" = to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    WHERE "createdAt" >= :until"""
)
_UNBIND = f"""
DO $$
BEGIN
    PERFORM set_config('lock_timeout', '500ms', true);
    IF EXISTS (SELECT 1 FROM {_OF_BOUND}) THEN
        ALTER TABLE llm_call_payloads DROP CONSTRAINT {BOUND};
    END IF;
END $$
"""  # noqa: S608


class PayloadPartitions:
    """The partitions of a database that has them."""

    async def add(self, connection: AsyncConnection) -> None:
        await connection.exec_driver_sql(_SOON)
        await connection.exec_driver_sql(_LOOSEN)
        size = (await connection.execute(_OTHER_BYTES)).scalar() or 0
        if size > _MOST_OTHER_BYTES:
            logger.warning(
                "no partition for a month is added, because the table llm_call_payloads_other has %d MB (more than %d):"
                " payloads go there too, and retention deletes them by rows; when most are deleted, run VACUUM FULL"
                " llm_call_payloads_other while nobody uses the server",
                *(size // 1024**2, _MOST_OTHER_BYTES // 1024**2),
            )
            return
        await connection.exec_driver_sql(_ADD)

    async def expired(self, connection: AsyncConnection, before: str) -> list[tuple[str, str, str]]:
        found = await connection.execute(_EXPIRED, {"before": before})
        return [(name, since, until) for name, since, until in found]

    async def drop(self, connection: AsyncConnection, name: str, kept: Select[Any]) -> bool:
        vacuum = f'LOCK TABLE "{name}" IN SHARE UPDATE EXCLUSIVE MODE'
        if not await _at_once(connection, *_NO_VACUUM, vacuum, _SOON, _LOCK):
            return False
        # A thread may have been marked since somebody looked.
        if (await connection.execute(select(kept.exists()))).scalar_one():
            return False
        return await _at_once(connection, f'DROP TABLE "{name}"')

    async def keep_only(self, connection: AsyncConnection, name: str, kept: Select[Any]) -> bool:
        rows = kept.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        return await _at_once(
            connection,
            _SOON,
            f'LOCK TABLE "{name}" IN ACCESS EXCLUSIVE MODE',
            f"CREATE TEMP TABLE kept_payloads ON COMMIT DROP AS {rows}",
            f'TRUNCATE "{name}"',
            f'INSERT INTO "{name}" SELECT * FROM kept_payloads',  # noqa: S608
            "DROP TABLE kept_payloads",
        )


async def key_one_table(connection: AsyncConnection, *, beside: bool = True) -> None:
    """Build the unique index of the one table of older versions.

    Args:
        beside: without a lock that writers wait for, and not in a transaction.
    """
    if not await _is_one_table(connection):
        return
    how = "INDEX CONCURRENTLY" if beside else "INDEX"
    is_valid = (await connection.execute(_INDEX, {"name": UNIQUE_INDEX})).scalar()
    if is_valid is False:
        # Its building was interrupted.
        await connection.exec_driver_sql(f"DROP {how} {UNIQUE_INDEX}")
    if not is_valid:
        await connection.exec_driver_sql(
            f'CREATE UNIQUE {how} {UNIQUE_INDEX} ON llm_call_payloads ("callId", "createdAt")'
        )


async def bound_one_table(connection: AsyncConnection) -> None:
    """Check that all payloads of the one table are before a month to come. Not in a transaction.

    A time after it becomes the present one.
    """
    if not await _is_one_table(connection):
        return
    try:
        await _patiently(connection, _BIND, _LOCK_ATTEMPTS)
        await _validate(connection)
    except BaseException:
        # The version before, to which somebody may go back, knows nothing of the check.
        await _unbind(connection.engine)
        raise


async def attach_one_table(connection: AsyncConnection) -> None:
    """Make the one table the partition of everything before the month of its check. No row is read."""
    if not await _is_one_table(connection):
        return
    if (until := (await connection.execute(_CHECK)).scalar()) is None:
        # Nobody else uses the database, so the check was not made before.
        await connection.exec_driver_sql(_BIND)
        until = await _validate(connection)
    old = f"llm_call_payloads_until_{until[:7].replace('-', '_')}"
    change = (
        "LOCK TABLE llm_calls IN SHARE ROW EXCLUSIVE MODE",
        "LOCK TABLE llm_call_payloads IN ACCESS EXCLUSIVE MODE",
        f"ALTER TABLE llm_call_payloads RENAME TO {old}",
        f"ALTER INDEX llm_call_payloads_by_age RENAME TO {old}_by_age",
        f"ALTER TABLE {old} DROP CONSTRAINT llm_call_payloads_pkey",
        f"ALTER TABLE {old} ADD CONSTRAINT {old}_pkey PRIMARY KEY USING INDEX {UNIQUE_INDEX}",
        *_created(connection),
        f"ALTER TABLE llm_call_payloads ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ('{until}')",
        f"ALTER TABLE {old} DROP CONSTRAINT {BOUND}",
    )
    # In one trip: writers wait from the first lock on until the transaction ends.
    for statement in (*_NO_VACUUM, _SOON, f"DO $change$ BEGIN {'; '.join(change)}; END $change$"):
        await connection.exec_driver_sql(statement)


def _created(connection: AsyncConnection) -> list[str]:
    """The statements that create the partitioned table."""
    made: list[str] = []

    def note(statement: Any, *_: Any) -> None:
        made.append(str(statement.compile(dialect=connection.dialect)))

    llm_call_payloads.create(create_mock_engine("postgresql+asyncpg://", note), checkfirst=False)
    return made


async def _validate(connection: AsyncConnection) -> str:
    """Make all payloads pass the check, and note that they do; gives the time that all are before."""
    until: str = (await connection.execute(_CHECK)).scalar_one()
    await connection.execute(_DATE_NOW, {"until": until})
    # Reads all rows, beside readers and writers.
    await connection.exec_driver_sql(f"ALTER TABLE llm_call_payloads VALIDATE CONSTRAINT {BOUND}")
    return until


async def _unbind(engine: AsyncEngine) -> None:
    """Drop the check, on a connection of its own, because that of the failure may be lost."""
    try:
        async with engine.connect() as connection:
            await _patiently(connection, _UNBIND, _UNBIND_ATTEMPTS)
    except Exception as error:  # noqa: BLE001  the failure that led here is raised
        logger.error(
            "the migration of payloads failed, and its check %s stays on llm_call_payloads: repeat the migration, or"
            " drop the constraint before you go back to the version before (%s)",
            *(BOUND, error),
        )


async def _patiently(connection: AsyncConnection, statement: str, attempts: int) -> None:
    """Run a statement that gives up its locks soon, again and again until it gets them."""
    for attempt in range(attempts):
        try:
            await connection.exec_driver_sql(statement)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _NOT_AVAILABLE or attempt == attempts - 1:
                raise
        else:
            return
        await asyncio.sleep(_LOCK_PAUSE_SECONDS)


async def _is_one_table(connection: AsyncConnection) -> bool:
    return (await connection.execute(_KIND)).scalar() == "r"


async def _at_once(connection: AsyncConnection, *statements: str) -> bool:
    """Run the statements; False, and nothing is changed, if a lock is not granted soon, if the login may not do it, or
    if another process has dropped the partition."""
    try:
        async with connection.begin_nested():
            for statement in statements:
                await connection.exec_driver_sql(statement)
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        if state not in (_NOT_AVAILABLE, _NO_PRIVILEGE, _NO_TABLE):
            raise
        logger.warning("a partition of old payloads could not be dropped, so rows are deleted (SQLSTATE %s)", state)
        return False
    return True
