"""The partitions of `llm_call_payloads` by month: made ahead, and dropped when they have expired (ADR 0042).

A change takes its locks in the order in which a write of a call takes them, gives up after half a second, and changes
the catalogue alone, so that nobody waits for long.
"""

import asyncio
import logging
from typing import Any

from sqlalchemy import Select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.schema.usage import llm_call_payloads

logger = logging.getLogger(__name__)

BOUND = "llm_call_payloads_bound"
"""The check of a table that is about to become the partition of everything before a month."""
UNIQUE_INDEX = "llm_call_payloads_key"
"""The index that becomes the primary key of that partition."""
_NOT_AVAILABLE, _NO_PRIVILEGE = "55P03", "42501"
_LOCK_ATTEMPTS, _LOCK_PAUSE_SECONDS = 120, 1.0
_SOON = "SET LOCAL lock_timeout = '500ms'"
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
# A month that a partition covers is left out, and so is one with rows in the partition of other times, where they stay.
# Postgres looks through that partition for each one that is added, so none is added beside a large one.
_ADD = f"""
DO $$
DECLARE
    month timestamp := date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC');
    part text;
    since text;
    until text;
    is_locked boolean := false;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = to_regclass('llm_call_payloads')) IS DISTINCT FROM 'p'
        OR coalesce(pg_relation_size(to_regclass('llm_call_payloads_other')), 0) > 64 * 1024 * 1024 THEN
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
                PERFORM set_config('lock_timeout', '500ms', true);
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
# The month is far ahead, because an interrupted migration leaves the check behind.
_BIND = f"""
DO $$
BEGIN
    PERFORM set_config('lock_timeout', '500ms', true);
    IF NOT EXISTS (SELECT 1 FROM {_OF_BOUND}) THEN
        EXECUTE 'ALTER TABLE llm_call_payloads ADD CONSTRAINT {BOUND} CHECK ("createdAt" < ' || quote_literal(
            to_char(date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') + interval '3 months', 'YYYY-MM')
            || '-01T00:00:00.000000Z') || ') NOT VALID';
    END IF;
END $$
"""  # noqa: S608
# That check is dropped a month before it would refuse a payload.
_LOOSEN = f"""
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM {_OF_BOUND} AND {_MONTH_OF_BOUND}
        < to_char((clock_timestamp() AT TIME ZONE 'UTC') + interval '1 month', 'YYYY-MM-DD')) THEN
        ALTER TABLE llm_call_payloads DROP CONSTRAINT {BOUND};
    END IF;
END $$
"""  # noqa: S608


class PayloadPartitions:
    """The partitions of a database that has them."""

    async def add(self, connection: AsyncConnection) -> None:
        for statement in (_SOON, _LOOSEN, _ADD):
            await connection.exec_driver_sql(statement)

    async def expired(self, connection: AsyncConnection, before: str) -> list[tuple[str, str, str]]:
        found = await connection.execute(_EXPIRED, {"before": before})
        return [(name, since, until) for name, since, until in found]

    async def drop(self, connection: AsyncConnection, name: str) -> bool:
        vacuum = f'LOCK TABLE "{name}" IN SHARE UPDATE EXCLUSIVE MODE'
        return await _at_once(connection, *_NO_VACUUM, vacuum, _SOON, _LOCK, f'DROP TABLE "{name}"')

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


async def key_one_table(connection: AsyncConnection) -> None:
    """Build the unique index of the one table of older versions. Not in a transaction."""
    if not await _is_one_table(connection):
        return
    is_valid = (await connection.execute(_INDEX, {"name": UNIQUE_INDEX})).scalar()
    if is_valid is False:
        # Its building was interrupted.
        await connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY {UNIQUE_INDEX}")
    if not is_valid:
        await connection.exec_driver_sql(
            f'CREATE UNIQUE INDEX CONCURRENTLY {UNIQUE_INDEX} ON llm_call_payloads ("callId", "createdAt")'
        )


async def bound_one_table(connection: AsyncConnection) -> None:
    """Check that all payloads of the one table are before a month to come. Not in a transaction."""
    if not await _is_one_table(connection):
        return
    for attempt in range(_LOCK_ATTEMPTS):
        try:
            await connection.exec_driver_sql(_BIND)
            break
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _NOT_AVAILABLE or attempt == _LOCK_ATTEMPTS - 1:
                raise
            await asyncio.sleep(_LOCK_PAUSE_SECONDS)
    # Reads all rows, beside readers and writers.
    await connection.exec_driver_sql(f"ALTER TABLE llm_call_payloads VALIDATE CONSTRAINT {BOUND}")


async def attach_one_table(connection: AsyncConnection) -> None:
    """Make the one table the partition of everything before the month of its check. No row is read."""
    if not await _is_one_table(connection):
        return
    until = (await connection.execute(_CHECK)).scalar_one()
    old = f"llm_call_payloads_until_{until[:7].replace('-', '_')}"
    for statement in (
        *_NO_VACUUM,
        _SOON,
        "LOCK TABLE llm_calls IN SHARE ROW EXCLUSIVE MODE",
        "LOCK TABLE llm_call_payloads IN ACCESS EXCLUSIVE MODE",
        f"ALTER TABLE llm_call_payloads RENAME TO {old}",
        f"ALTER INDEX llm_call_payloads_by_age RENAME TO {old}_by_age",
        f"ALTER TABLE {old} DROP CONSTRAINT llm_call_payloads_pkey",
        f"ALTER TABLE {old} ADD CONSTRAINT {old}_pkey PRIMARY KEY USING INDEX {UNIQUE_INDEX}",
    ):
        await connection.exec_driver_sql(statement)
    await connection.run_sync(llm_call_payloads.create)
    for statement in (
        f"ALTER TABLE llm_call_payloads ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ('{until}')",
        f"ALTER TABLE {old} DROP CONSTRAINT {BOUND}",
    ):
        await connection.exec_driver_sql(statement)


async def _is_one_table(connection: AsyncConnection) -> bool:
    return (await connection.execute(_KIND)).scalar() == "r"


async def _at_once(connection: AsyncConnection, *statements: str) -> bool:
    """Run the statements; False, and nothing is changed, if a lock is not granted soon or the login may not do it."""
    try:
        async with connection.begin_nested():
            for statement in statements:
                await connection.exec_driver_sql(statement)
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        if state not in (_NOT_AVAILABLE, _NO_PRIVILEGE):
            raise
        logger.warning("a partition of old payloads could not be dropped, so rows are deleted (SQLSTATE %s)", state)
        return False
    return True
