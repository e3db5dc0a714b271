"""A database is upgraded while the version before goes on using it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

import datalayer
from datalayer import create_data_layer
from datalayer.adoption.adopt import adopt
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.database import Database
from datalayer.dialects import postgresql_partitions
from datalayer.migrations import apply_pending, locked, plan, run, steps
from datalayer.records.usage import LlmCallPayload
from datalayer.schema.chat import metadata, migrations
from datalayer.schema.usage import llm_call_payloads
from tests.migration.test_migrations import STEPS, described
from tests.support.calls import call
from tests.support.patience import PATIENCE_SECONDS, until
from tests.support.postgres import Databases
from tests.support.records import user_id
from tests.support.version_0_1_0 import version_0_1_0

AFTER = ["complete_rows_of_older_versions", "partition_payloads", "drop_index_of_calls_in_order"]


@pytest.fixture
def empty_url(postgres: Databases) -> Iterator[str]:
    url = postgres.create()
    yield url
    postgres.drop(url)


@pytest.fixture
async def postgres_layer(postgres: Databases, migrated_postgres: str) -> AsyncIterator[ChainlitLayer]:
    url = postgres.create(migrated_postgres)
    layer = create_data_layer(url)
    yield layer
    await layer.close()
    postgres.drop(url)


async def forget(layer: ChainlitLayer, *names: str, sql: str = "") -> None:
    """Take the database back to before these migrations."""
    async with layer.database.write() as connection:
        for statement in filter(None, sql.split(";")):
            await connection.exec_driver_sql(statement)
        await connection.execute(delete(migrations).where(migrations.c.name.in_(names)))


@pytest.mark.slow
async def test_0_1_0_goes_on_working_while_its_database_is_upgraded_and_afterwards(
    empty_url: str, tmp_path: Path
) -> None:
    layer = create_data_layer(empty_url)
    async with version_0_1_0(empty_url, tmp_path) as old:
        known = await old("migrate")
        assert known == STEPS[: len(known)]
        await old("talk")
        await old("write")
        applied = await layer.migrate()
        assert applied == [name for name in STEPS if name not in known + AFTER]
        written = await old("stop")
        assert written["errors"] == []
        assert written["count"] > 0
        said = await old("talk")
        expected = {"step": "changed by the old version", "vote": 1, "found": True, "liked": True}
        assert {name: said[name] for name in expected} == expected
        with datalayer.acting_as("ada"):
            thread = await layer.get_thread(said["kept"])
            assert thread["steps"][0]["output"] == "changed by the old version"
            assert await layer.get_thread(said["gone"]) is None
        assert await layer.pending_migrations() == []
        assert await layer.pending_removals() == AFTER
        assert await layer.migrate(removals=True) == AFTER
        refused = await old("migrate")
        assert "SchemaError: the database was migrated by a newer version" in refused["error"]
    async with layer.database.read() as connection:
        migrated = await connection.run_sync(described)
    async with layer.database.write() as connection:
        await connection.run_sync(metadata.drop_all)
        await connection.run_sync(metadata.create_all)
    async with layer.database.read() as connection:
        assert await connection.run_sync(described) == migrated
    await layer.close()


async def test_a_replica_waits_for_another_that_migrates_and_says_so(
    postgres_layer: ChainlitLayer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, run.__name__)
    await forget(postgres_layer, "claim_turns")
    other = create_data_layer(postgres_layer.database._url)
    async with other.database.write() as connection:
        assert await other.database.dialect.try_lock_migrations(connection)
        migrating = asyncio.create_task(postgres_layer.migrate())
        await until(lambda: "another process is migrating the database; this one waits" in caplog.text)
        assert not migrating.done()
    assert await migrating == ["claim_turns"]
    assert "the other process has migrated the database" in caplog.text
    await other.close()


async def test_a_replica_that_waits_does_not_hold_up_the_indexes_of_the_other(postgres_layer: ChainlitLayer) -> None:
    dropped = "DROP INDEX votes_of_user;DROP INDEX llm_calls_of_key"
    await forget(postgres_layer, "index_reads", "keep_api_keys", sql=dropped)
    other = create_data_layer(postgres_layer.database._url)
    async with asyncio.timeout(PATIENCE_SECONDS):
        applied = await asyncio.gather(postgres_layer.migrate(), other.migrate())
    assert sorted(applied) == [[], ["index_reads", "keep_api_keys"]]
    await other.close()


async def test_a_table_in_use_is_not_blocked_for_others(
    postgres_layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run, "_LOCK_PAUSE_SECONDS", 0.05)
    await forget(postgres_layer, "compare_names_without_case", sql='ALTER TABLE users DROP COLUMN "nameKey"')
    other = Database(postgres_layer.database._url)
    async with other.transaction() as reading:
        await reading.execute(text("SELECT 1 FROM users"))
        migrating = asyncio.create_task(postgres_layer.migrate())
        await until(lambda: "the migration of users waits for the transactions of others" in caplog.text)
        # Somebody who comes later does not queue behind the migration for long.
        async with other.read() as late:
            await late.execute(text("SELECT 1 FROM users"))
        assert not migrating.done()
    assert await migrating == ["compare_names_without_case"]
    await other.close()


async def test_an_interrupted_index_is_built_again(postgres_layer: ChainlitLayer) -> None:
    unfinished = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'llm_calls_of_key'::regclass"
    await forget(postgres_layer, "keep_api_keys", sql=unfinished)
    (change,) = [one for one in await plan(postgres_layer.database) if one.name == "keep_api_keys"]
    assert change.phase == "before"
    assert await postgres_layer.migrate() == ["keep_api_keys"]
    async with postgres_layer.database.read() as connection:
        valid = text("SELECT indisvalid FROM pg_index WHERE indexrelid = 'llm_calls_of_key'::regclass")
        assert (await connection.execute(valid)).scalar_one()


ONE_TABLE = """DROP TABLE llm_call_payloads;
    CREATE TABLE llm_call_payloads ("callId" uuid PRIMARY KEY REFERENCES llm_calls ON DELETE CASCADE,
    messages jsonb, response text, "createdAt" text NOT NULL);
    CREATE INDEX llm_call_payloads_by_age ON llm_call_payloads ("createdAt")"""
STORED_BY_AN_OLDER_VERSION = """INSERT INTO llm_call_payloads ("callId", response, "createdAt")
    VALUES (:id, 'older', :at) ON CONFLICT ("callId") DO UPDATE SET response = excluded.response"""


def noted(sent: list[str]) -> Callable[..., Awaitable[Any]]:
    """`AsyncConnection.exec_driver_sql`, which notes its statements."""
    execute = AsyncConnection.exec_driver_sql

    async def note(self: AsyncConnection, statement: str, *args: Any, **options: Any) -> Any:
        sent.append(statement)
        return await execute(self, statement, *args, **options)

    return note


async def test_the_one_table_of_payloads_becomes_the_first_partition(
    postgres_layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = postgres_layer
    async with layer.database.read() as connection:
        whole = await connection.run_sync(described)
    await forget(layer, "key_payloads_with_their_time", "partition_payloads", sql=ONE_TABLE)
    assert await layer.migrate() == ["key_payloads_with_their_time"]
    first, second = call(), call(utc_now())
    for record in (first, second):
        # Both versions use the one table.
        await layer.record_call(record)
        async with layer.database.write() as connection:
            for _ in range(2):
                await connection.execute(text(STORED_BY_AN_OLDER_VERSION), {"id": record.id, "at": utc_now()})
    for _ in range(2):
        await layer.record_call(first, LlmCallPayload(first.id, [], "newer"))
    due = {change.name: change for change in await plan(layer.database)}
    assert due["partition_payloads"].phase == "after"
    assert "everyone who uses llm_call_payloads (ACCESS EXCLUSIVE)" in due["partition_payloads"].locks
    sent: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(AsyncConnection, "exec_driver_sql", noted(sent))
        assert await layer.migrate(removals=True) == ["partition_payloads"]
    # Writers wait from the first such lock on, so everything else is done in the same trip.
    locking = next(statement for statement in sent if "IN SHARE ROW EXCLUSIVE MODE" in statement)
    for done in ("IN ACCESS EXCLUSIVE MODE", "CREATE TABLE llm_call_payloads", "ATTACH PARTITION", "DROP CONSTRAINT"):
        assert done in locking
    async with layer.database.read() as connection:
        assert await connection.run_sync(described) == whole
        parts = (
            await connection.execute(text("SELECT DISTINCT tableoid::regclass::text FROM llm_call_payloads"))
        ).all()
    assert [name[:24] for (name,) in parts] == ["llm_call_payloads_until_"]
    await layer.record_call(second, LlmCallPayload(second.id, [], "newest"))
    found = [await layer.get_call(one.id) for one in (first, second)]
    assert [one[1].response for one in found if one is not None and one[1] is not None] == ["newer", "newest"]
    assert await layer.forget_payloads("2100-01-01T00:00:00Z") == 2
    async with layer.database.read() as connection:
        assert (await connection.execute(text("SELECT to_regclass(:name)"), {"name": parts[0][0]})).scalar() is None


async def test_an_adopted_database_of_an_older_version_stores_payloads_in_its_one_table(
    postgres_layer: ChainlitLayer,
) -> None:
    layer = postgres_layer
    await forget(layer, "key_payloads_with_their_time", "partition_payloads", sql=ONE_TABLE)
    await adopt(layer.database, apply=True)
    record = call()
    for _ in range(2):
        await layer.record_call(record, LlmCallPayload(record.id, [], "an answer"))
    # Nobody else uses the database: everything happens in one transaction.
    async with locked(layer.database) as connection:
        assert await apply_pending(connection, removals=True) == ["partition_payloads"]
    await layer.record_call(record, LlmCallPayload(record.id, [], "another answer"))
    found = await layer.get_call(record.id)
    assert found is not None
    assert found[1] == LlmCallPayload(record.id, [], "another answer")


async def test_a_payload_of_the_far_future_does_not_prevent_the_partitions(postgres_layer: ChainlitLayer) -> None:
    layer = postgres_layer
    record = call()
    await layer.record_call(record)
    await forget(layer, "key_payloads_with_their_time", "partition_payloads", sql=ONE_TABLE)
    async with layer.database.write() as connection:
        stored = {"id": record.id, "at": "2999-01-01T00:00:00.000000Z"}
        await connection.execute(text(STORED_BY_AN_OLDER_VERSION), stored)
    before = utc_now()
    assert await layer.migrate(removals=True) == ["key_payloads_with_their_time", "partition_payloads"]
    async with layer.database.read() as connection:
        (moment,) = (await connection.execute(select(llm_call_payloads.c.createdAt))).scalars()
    assert before <= moment <= utc_now()


async def test_a_migration_to_partitions_that_fails_leaves_no_check_behind(
    postgres_layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = postgres_layer
    await forget(layer, "key_payloads_with_their_time", "partition_payloads", sql=ONE_TABLE)
    checks = text("SELECT count(*) FROM pg_constraint WHERE conname = 'llm_call_payloads_bound'")
    with monkeypatch.context() as patch:
        patch.setattr(postgresql_partitions, "_DATE_NOW", text("SELECT :until, 1 / 0"))
        with pytest.raises(datalayer.DataLayerError):
            await layer.migrate(removals=True)
        async with layer.database.read() as connection:
            assert (await connection.execute(checks)).scalar_one() == 0
        # The statement of a migration that is cancelled takes its connection with it.
        patch.setattr(postgresql_partitions, "_DATE_NOW", text("SELECT :until, pg_sleep(600)"))
        migrating = asyncio.create_task(layer.migrate(removals=True))

        async def is_checked() -> bool:
            async with layer.database.read() as connection:
                return bool((await connection.execute(checks)).scalar_one())

        await until(is_checked)
        migrating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await migrating
    async with layer.database.read() as connection:
        assert (await connection.execute(checks)).scalar_one() == 0
    assert await layer.migrate(removals=True) == ["partition_payloads"]


async def test_a_check_that_an_interrupted_migration_left_is_dropped_before_it_refuses_a_payload(
    postgres_layer: ChainlitLayer,
) -> None:
    check = (
        """ALTER TABLE llm_call_payloads ADD CONSTRAINT llm_call_payloads_bound CHECK ("createdAt" < '{}') NOT VALID"""
    )
    await forget(postgres_layer, "partition_payloads", sql=ONE_TABLE)
    await forget(postgres_layer, "key_payloads_with_their_time", sql=check.format("2100-01-01T00:00:00.000000Z"))
    checks = text("SELECT count(*) FROM pg_constraint WHERE conname = 'llm_call_payloads_bound'")
    for left, sql in ((1, ""), (0, f"ALTER TABLE llm_call_payloads DROP CONSTRAINT llm_call_payloads_bound;{check}")):
        await forget(postgres_layer, sql=sql.format(utc_now()))
        await postgres_layer.migrate()
        async with postgres_layer.database.read() as connection:
            assert (await connection.execute(checks)).scalar_one() == left
    assert await postgres_layer.migrate(removals=True) == ["partition_payloads"]


async def test_an_index_that_the_data_prevents_leaves_nothing_behind(postgres_layer: ChainlitLayer) -> None:
    await user_id(postgres_layer, "ada")
    await user_id(postgres_layer, "bob")
    alike = """DROP INDEX one_user_per_name;UPDATE users SET "nameKey" = 'ada'"""
    await forget(postgres_layer, "compare_names_without_case", sql=alike)
    with pytest.raises(datalayer.SchemaError, match="the migration stopped, and what was added before stays"):
        await postgres_layer.migrate()
    async with postgres_layer.database.read() as connection:
        assert (await connection.execute(text("SELECT to_regclass('one_user_per_name')"))).scalar() is None


async def test_the_plan_says_what_is_due_and_who_waits_for_it(layer: ChainlitLayer, engine: str) -> None:
    assert await plan(layer.database) == []
    names = ("compare_names_without_case", "index_reads", *AFTER)
    columns = 'DROP INDEX one_user_per_name;ALTER TABLE users DROP COLUMN "nameKey";DROP INDEX votes_of_user'
    triggers = ";DROP TRIGGER thread_marked ON threads;DROP TRIGGER thread_stays_deleted ON threads"
    table = f"{triggers};DROP TABLE deleted_threads" if engine == "postgres" else ""
    await forget(layer, *names, sql=columns + table)
    due = {change.name: change for change in await plan(layer.database)}
    assert {due[name].phase for name in AFTER} == {"after"}
    assert {change.phase for name, change in due.items() if name not in AFTER} == {"before"}
    assert due["index_reads"].purpose == "Add two indexes to databases of older versions"
    if engine == "sqlite":
        assert list(due) == ["index_reads", "compare_names_without_case", *AFTER]
        assert {change.locks for change in due.values()} == {"writers, until all changes are made; readers go on"}
    else:
        assert set(list(due)[:4]) == {"users", "deleted_threads", "votes_of_user", "one_user_per_name"}
        assert due["users"].purpose == "Add nameKey"
        assert due["users"].locks.startswith("everyone who uses users, for milliseconds")
        assert due["deleted_threads"].locks.startswith("writers of threads, for milliseconds"), "it gets triggers"
        assert due["votes_of_user"].locks.startswith("nobody (CONCURRENTLY); reads about")
        assert due["index_reads"].locks == "nobody"
        assert due["compare_names_without_case"].locks == "writers of users, until each user has the key"
    assert await layer.pending_migrations() == ["index_reads", "compare_names_without_case"]
    assert await layer.migrate() == ["index_reads", "compare_names_without_case"]
    assert [change.name for change in await plan(layer.database)] == AFTER
    # As a database of Chainlit's own layer, which has no ledger.
    await forget(layer, sql="DROP TABLE threadkeeper_migrations; CREATE TABLE threadkeeper_migrations (name text)")
    assert {change.locks.partition(":")[0] for change in await plan(layer.database)} == {
        "everyone who uses Chainlit's tables, until all changes are made"
        if engine == "postgres"
        else "writers, until all changes are made; readers go on"
    }


async def test_the_version_before_accepts_additions_and_refuses_removals(
    layer: ChainlitLayer, caplog: pytest.LogCaptureFixture
) -> None:
    async with layer.database.write() as connection:
        await connection.execute(insert(migrations).values(name="newer", appliedAt="2030", phase="before"))
    assert await layer.migrate() == []
    assert "a newer version has prepared the database (newer); this version can use it" in caplog.text
    async with layer.database.write() as connection:
        await connection.execute(insert(migrations).values(name="newest", appliedAt="2030", phase="after"))
    for refused in (layer.migrate, layer.pending_migrations):
        with pytest.raises(datalayer.SchemaError, match=r"this version is too old for the database.*\(newest\)"):
            await refused()


async def test_removals_of_an_earlier_upgrade_are_applied_with_the_next_additions(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await forget(layer, *AFTER)
    assert await layer.migrate() == []
    monkeypatch.setattr(steps, "STEPS", steps.STEPS.copy())
    monkeypatch.setattr(run, "STEPS", steps.STEPS)

    @steps.migration()
    async def of_the_next_version(connection: object) -> None:
        """Add nothing."""

    assert await layer.migrate() == [*AFTER, "of_the_next_version"]
    async with layer.database.read() as connection:
        noted = select(migrations.c.phase).where(migrations.c.name.in_([*AFTER, "of_the_next_version"]))
        assert sorted((await connection.execute(noted)).scalars()) == ["after"] * len(AFTER) + ["before"]
