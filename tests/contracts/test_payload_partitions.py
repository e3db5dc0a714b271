"""On Postgres, payloads of calls are in partitions by month: retention drops a month, and no payload is refused."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert, text

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.database import Database
from datalayer.dialects import postgresql_partitions
from datalayer.dialects.postgresql_partitions import PayloadPartitions
from datalayer.migrations import add_partitions
from datalayer.records.usage import LlmCall, LlmCallPayload
from datalayer.schema.usage import llm_call_payloads
from tests.support.calls import call
from tests.support.reviewing import account, reviewing, talk

JANUARY, FEBRUARY, MARCH = (f"2020-0{month}-10T00:00:00.000000Z" for month in (1, 2, 3))
OTHER = "llm_call_payloads_other"
_PARTS = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'llm_call_payloads'::regclass")


@pytest.fixture
async def layer(layer: ChainlitLayer, engine: str) -> ChainlitLayer:
    if engine == "sqlite":
        pytest.skip("on SQLite, payloads are one table")
    await layer.migrate()
    async with layer.database.write() as connection:
        for month in (1, 2, 3):
            bounds = f"FROM ('2020-0{month}-01T00:00:00.000000Z') TO ('2020-0{month + 1}-01T00:00:00.000000Z')"
            part = f"llm_call_payloads_2020_0{month}"
            await connection.exec_driver_sql(f"CREATE TABLE {part} PARTITION OF llm_call_payloads FOR VALUES {bounds}")
    return layer


async def parts(layer: ChainlitLayer) -> set[str]:
    async with layer.database.read() as connection:
        return set((await connection.execute(_PARTS)).scalars())


async def part_of(layer: ChainlitLayer, record: LlmCall) -> list[str]:
    """The partitions that have a payload of the call."""
    found = text("""SELECT tableoid::regclass::text FROM llm_call_payloads WHERE "callId" = :id""")
    async with layer.database.read() as connection:
        return list((await connection.execute(found, {"id": record.id})).scalars())


async def recorded(layer: ChainlitLayer, requested_at: str, **fields: object) -> LlmCall:
    record = call(requested_at, **fields)
    await layer.record_call(record, LlmCallPayload(record.id, [{"content": "a question"}], "an answer"))
    return record


async def test_a_payload_is_in_the_partition_of_its_month_or_in_that_of_other_times(layer: ChainlitLayer) -> None:
    now = utc_now()
    of_now = await recorded(layer, now)
    assert await part_of(layer, of_now) == [f"llm_call_payloads_{now[:7].replace('-', '_')}"]
    assert await part_of(layer, await recorded(layer, FEBRUARY)) == ["llm_call_payloads_2020_02"]
    assert await part_of(layer, await recorded(layer, "1999-01-01T00:00:00.000000Z")) == [OTHER]
    # A call cannot have been made later than now.
    assert await part_of(layer, await recorded(layer, "2999-01-01T00:00:00.000000Z")) == await part_of(layer, of_now)


async def test_retention_drops_the_months_that_have_expired_and_deletes_the_other_rows(layer: ChainlitLayer) -> None:
    january, older = await recorded(layer, JANUARY), await recorded(layer, "1999-01-01T00:00:00.000000Z")
    march = [await recorded(layer, f"2020-03-{day}T00:00:00.000000Z") for day in (10, 20)]
    assert await layer.forget_payloads("2020-03-15T00:00:00Z") == 3
    assert not {"llm_call_payloads_2020_01", "llm_call_payloads_2020_02"} & await parts(layer)
    assert [await part_of(layer, one) for one in (january, older, *march)] == [
        [],
        [],
        [],
        ["llm_call_payloads_2020_03"],
    ]
    assert await layer.forget_payloads("2020-03-15T00:00:00Z") == 0


async def test_a_month_keeps_the_payloads_of_pinned_threads(layer: ChainlitLayer) -> None:
    await account(layer, "rita", "reviewer")
    await account(layer, "ada", "admin")
    turn = await talk(layer)
    pinned, other = await recorded(layer, JANUARY, thread_id=turn.thread), await recorded(layer, JANUARY)
    with reviewing():
        await layer.mark_thread(turn.thread, "pin")
    with datalayer.acting_as("ada"):
        (plan,) = await layer.plan_retention({"payloads": MARCH})
        (receipt,) = await layer.apply_retention({"payloads": MARCH})
    assert (plan.count, plan.exempt) == (1, 1)
    assert receipt.rows["llm_call_payloads"] == 1
    assert [await part_of(layer, one) for one in (pinned, other)] == [["llm_call_payloads_2020_01"], []]
    assert "llm_call_payloads_2020_02" not in await parts(layer)
    assert await layer.forget_payloads(MARCH) == 0


async def test_a_thread_that_is_pinned_before_the_month_is_locked_keeps_its_payloads(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await account(layer, "rita", "reviewer")
    turn = await talk(layer)
    pinned, other = await recorded(layer, JANUARY, thread_id=turn.thread), await recorded(layer, JANUARY)
    drop = PayloadPartitions.drop

    async def pinned_before(self: PayloadPartitions, *args: Any) -> bool:
        with reviewing():
            await layer.mark_thread(turn.thread, "pin")
        return await drop(self, *args)

    monkeypatch.setattr(PayloadPartitions, "drop", pinned_before)
    assert await layer.forget_payloads(FEBRUARY) == 1
    assert [await part_of(layer, one) for one in (pinned, other)] == [["llm_call_payloads_2020_01"], []]


async def test_each_month_is_dropped_in_a_transaction_of_its_own(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await recorded(layer, FEBRUARY)
    seen: list[set[str]] = []
    drop = PayloadPartitions.drop

    async def watched(self: PayloadPartitions, *args: Any) -> bool:
        seen.append(await parts(layer))
        # Another write of a payload waits for no lock of an earlier month, and for no write of the queue.
        await recorded(layer, utc_now())
        return await drop(self, *args)

    monkeypatch.setattr(PayloadPartitions, "drop", watched)
    assert await layer.forget_payloads("2020-03-01T00:00:00Z") == 1
    assert ["llm_call_payloads_2020_01" in one for one in seen] == [True, False]


async def test_rows_are_deleted_while_others_use_the_month_and_it_is_dropped_afterwards(
    layer: ChainlitLayer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datalayer.usage.usage._FORGOTTEN_AT_ONCE", 1)
    january = [await recorded(layer, JANUARY) for _ in range(2)]
    other = Database(layer.database._url)
    async with other.transaction() as reading:
        await reading.execute(text("SELECT 1 FROM llm_call_payloads_2020_01"))
        assert await layer.forget_payloads(FEBRUARY) == 2
        assert "llm_call_payloads_2020_01" in await parts(layer)
        assert [await part_of(layer, one) for one in january] == [[], []]
    # It is tried once in a run, and not again for each part of the rows.
    assert caplog.text.count("could not be dropped, so rows are deleted (SQLSTATE 55P03)") == 1
    await other.close()
    assert await layer.forget_payloads(FEBRUARY) == 0
    assert "llm_call_payloads_2020_01" not in await parts(layer)


async def test_the_partitions_of_the_next_months_are_added_ahead_once(
    layer: ChainlitLayer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = await parts(layer)
    assert len({one for one in there if "2020" not in one} - {OTHER}) == 4
    last = max(there - {OTHER})
    async with layer.database.write() as connection:
        await connection.exec_driver_sql(f"DROP TABLE {last}")
    other = Database(layer.database._url)
    await asyncio.gather(add_partitions(layer.database), add_partitions(other))
    await other.close()
    assert await parts(layer) == there
    # A month whose payloads are among those of other times stays there.
    of_last = f"{last[-7:].replace('_', '-')}-15T00:00:00.000000Z"
    record = await recorded(layer, JANUARY)
    async with layer.database.write() as connection:
        await connection.exec_driver_sql(f"DROP TABLE {last}")
        await connection.execute(insert(llm_call_payloads).values(callId=record.id, createdAt=of_last))
    await layer.forget_payloads("1990-01-01T00:00:00Z")
    assert last not in await parts(layer)
    # None is added beside many payloads of other times, and the log says what to do.
    assert "llm_call_payloads_other has" not in caplog.text
    monkeypatch.setattr(postgresql_partitions, "_MOST_OTHER_BYTES", 0)
    async with layer.database.write() as connection:
        await connection.exec_driver_sql(f"DROP TABLE {sorted(there - {OTHER})[-2]}")
    await layer.forget_payloads("1990-01-01T00:00:00Z")
    assert len(await parts(layer)) == len(there) - 2
    assert "run VACUUM FULL llm_call_payloads_other" in caplog.text


# The role is a parameter of the start, which a pooler refuses.
@pytest.mark.without_pooler
async def test_a_login_without_the_privilege_deletes_rows_and_stores_payloads(
    layer: ChainlitLayer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    january = await recorded(layer, JANUARY)
    login = f"writer_of_{layer.database._url.rpartition('_')[2]}"
    async with layer.database.write() as connection:
        for statement in (
            f"CREATE ROLE {login}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {login}",
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {login}",
            "DROP TABLE llm_call_payloads_2020_02",
        ):
            await connection.exec_driver_sql(statement)
    monkeypatch.setenv("PGOPTIONS", f"-c role={login}")
    lesser = datalayer.create_data_layer(layer.database._url)
    try:
        assert await lesser.forget_payloads(FEBRUARY) == 1
        assert "could not be dropped, so rows are deleted (SQLSTATE 42501)" in caplog.text
        assert await part_of(layer, january) == []
        assert await part_of(layer, await recorded(lesser, FEBRUARY)) == [OTHER]
    finally:
        await lesser.close()
        async with layer.database.write() as connection:
            await connection.exec_driver_sql(f"DROP OWNED BY {login}")
            await connection.exec_driver_sql(f"DROP ROLE {login}")


async def test_a_call_of_the_future_has_one_payload(layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    record = call("2026-06-01T00:00:02.000000Z")
    for now in ("2026-05-31T23:59:58.000000Z", "2026-06-01T00:00:01.000000Z", "2026-06-01T00:00:03.000000Z"):
        monkeypatch.setattr("datalayer.writes.calls.utc_now", lambda now=now: now)
        await layer.record_call(record, LlmCallPayload(record.id, [], now))
    assert len(await part_of(layer, record)) == 1
    found = await layer.get_call(record.id)
    assert found is not None
    assert found[1] == LlmCallPayload(record.id, [], now)


async def test_a_payload_that_an_older_version_stored_is_replaced(layer: ChainlitLayer) -> None:
    record = await recorded(layer, JANUARY)
    # Older versions noted when they stored it.
    async with layer.database.write() as connection:
        await connection.execute(
            text("""UPDATE llm_call_payloads SET "createdAt" = :then WHERE "callId" = :id"""),
            {"then": FEBRUARY, "id": record.id},
        )
    await layer.record_call(record, LlmCallPayload(record.id, [], "another answer"))
    await layer.record_call(replace(record, finish_reason="stop"))
    assert await part_of(layer, record) == ["llm_call_payloads_2020_02"]
    found = await layer.get_call(record.id)
    assert found is not None
    assert found[1] == LlmCallPayload(record.id, [], "another answer")
