"""Calls outlive their users and threads, payloads do not. Queue, spool and takeouts leave calls unchanged."""

import asyncio
import json
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import datalayer
from datalayer import create_data_layer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.records.chat import Element, Feedback, Thread, User
from datalayer.records.usage import CallFilter, LlmCall, LlmCallPayload, LlmCallWrite
from datalayer.records.writes import ElementWrite, ThreadWrite, UserWrite, VoteWrite
from datalayer.schema.chat import threads, users
from datalayer.takeout import export
from datalayer.takeout.export import export_user
from datalayer.takeout.import_ import import_user
from datalayer.writes import calls as usage_writes
from datalayer.writes.admission import rough_size
from datalayer.writes.spool import from_line, to_line
from tests.contracts.test_takeout import rewritten
from tests.support.calls import call
from tests.support.lost_answers import lost_answers
from tests.support.records import new_id, step, thread, user_id

EVERYTHING = CallFilter()
COST = Decimal("0.000000000123")


@pytest.fixture
async def other(other_database_url: str) -> AsyncIterator[ChainlitLayer]:
    """Another installation, on the other engine."""
    layer = create_data_layer(other_database_url)
    yield layer
    await layer.close()


async def talk(layer: ChainlitLayer, owner: str) -> tuple[str, LlmCall]:
    """A thread with a question and an answer with a cost; returns its id and the call."""
    owner_id = await user_id(layer, owner)
    thread_id = await thread(layer, owner_id)
    answer = step(thread_id, "answer", type="assistant_message")
    await layer.create_step(step(thread_id, "question"))
    await layer.create_step(answer)
    record = call(
        user_id=owner_id,
        thread_id=thread_id,
        step_id=answer["id"],
        prompt_tokens=7,
        completion_tokens=600,
        seconds=2.0,
        first_token_seconds=0.5,
        total_cost=COST,
        error_message="what she wrote",
        price={"source": "own prices", "input": "2"},
        tags=("a", "ü"),
    )
    await layer.record_call(record, payload(record))
    return thread_id, record


def payload(record: LlmCall) -> LlmCallPayload:
    return LlmCallPayload(record.id, [{"role": "user", "content": "question", "name": None}], "answer")


async def kept(layer: ChainlitLayer, record: LlmCall) -> tuple[LlmCall, LlmCallPayload | None]:
    found = await layer.get_call(record.id)
    assert found is not None, "the call is missing"
    return found[0].call, found[1]


async def test_a_call_outlives_its_thread_without_its_payload(layer: ChainlitLayer) -> None:
    thread_id, record = await talk(layer, "alice")
    _, others = await talk(layer, "bob")
    before = await layer.usage_totals(EVERYTHING)
    receipt = await layer.delete_thread_with_receipt(thread_id)
    assert receipt.rows["llm_call_payloads"] == 1
    assert "llm_calls" not in receipt.rows
    stored, stored_payload = await kept(layer, record)
    assert (stored.user_id, stored.thread_id, stored.step_id, stored.error_message) == (
        record.user_id,
        None,
        None,
        None,
    )
    assert stored_payload is None
    assert await layer.usage_totals(EVERYTHING) == before
    assert (await kept(layer, others))[1] == payload(others)
    assert (await kept(layer, others))[0].thread_id == others.thread_id


async def test_a_call_outlives_its_user(layer: ChainlitLayer) -> None:
    _, record = await talk(layer, "alice")
    elsewhere = replace(record, id=new_id(), thread_id=(await talk(layer, "bob"))[0])
    nowhere = replace(record, id=new_id(), thread_id=None)
    for one in (elsewhere, nowhere):
        await layer.record_call(one, payload(one))
    before = await layer.usage_totals(EVERYTHING)
    receipt = await layer.delete_user("alice")
    assert receipt.rows["llm_call_payloads"] == 3
    for one in (record, elsewhere, nowhere):
        stored, stored_payload = await kept(layer, one)
        assert (stored.user_id, stored_payload) == (None, None)
    assert await layer.usage_totals(EVERYTHING) == before
    assert [(one.name, one.totals.calls) for one in await layer.usage_by(EVERYTHING, "user", order="calls")] == [
        (None, 3),
        ("bob", 1),
    ]


async def test_a_call_of_a_deleted_thread_or_user_is_stored_without_their_ids(
    database_url: str, layer: ChainlitLayer
) -> None:
    for end in ("thread", "user"):
        thread_id, record = await talk(layer, "alice")
        late = replace(record, id=new_id())
        await (layer.delete_thread(thread_id) if end == "thread" else layer.delete_user("alice"))
        other = create_data_layer(database_url)
        for one in (layer, other):
            # And the same call again, as a replayed spool may store it twice.
            for again in (record, late):
                await one.record_call(again, payload(again))
                stored, stored_payload = await kept(one, again)
                assert (stored.thread_id, stored.step_id, stored_payload) == (None, None, None)
                assert (stored.user_id is None) == (end == "user")
        await other.close()


async def test_a_call_loses_the_id_of_a_deleted_step(layer: ChainlitLayer) -> None:
    thread_id, record = await talk(layer, "alice")
    tool = step(thread_id, "what it gave", type="tool")
    await layer.create_step(tool)
    of_tool = replace(record, id=new_id(), step_id=tool["id"])
    await layer.record_call(of_tool, payload(of_tool))
    assert record.step_id is not None
    for step_id in (tool["id"], record.step_id):
        await layer.delete_step(step_id)
    stored, stored_payload = await kept(layer, of_tool)
    assert (stored.step_id, stored.thread_id, stored_payload) == (None, thread_id, payload(of_tool))
    # The removed answer is kept for reviewers, and its usage with it.
    stored, stored_payload = await kept(layer, record)
    assert (stored.step_id, stored.thread_id, stored_payload) == (record.step_id, thread_id, payload(record))


async def test_concurrent_deletions_and_calls_leave_no_dangling_ids(database_url: str, layer: ChainlitLayer) -> None:
    other = create_data_layer(database_url)
    for _ in range(15):
        thread_id, record = await talk(layer, "alice")
        late = [replace(record, id=new_id()) for _ in range(5)]
        await asyncio.gather(
            *(other.record_call(one, payload(one)) for one in late),
            layer.delete_user("alice") if _ % 2 else layer.delete_thread(thread_id),
        )
        for one in (record, *late):
            stored, stored_payload = await kept(layer, one)
            assert (stored.thread_id, stored.step_id, stored_payload) == (None, None, None)
            assert _ % 2 == 0 or stored.user_id is None
    await other.close()


async def test_old_payloads_are_deleted(layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datalayer.usage.usage._FORGOTTEN_AT_ONCE", 2)
    _, new = await talk(layer, "alice")
    old = [replace(new, id=new_id(), requested_at="2026-03-10T11:59:59.999999Z") for _ in range(3)]
    for record in old:
        await layer.record_call(record, payload(record))
    assert await layer.forget_payloads(new.requested_at) == 3
    assert await layer.forget_payloads(new.requested_at) == 0
    assert [(await kept(layer, one))[1] for one in old] == [None] * 3
    assert (await kept(layer, new))[1] == payload(new)


async def test_a_newer_state_of_a_call_keeps_the_payload_unless_it_has_one(layer: ChainlitLayer) -> None:
    _, record = await talk(layer, "alice")
    await layer.record_call(replace(record, finish_reason="stop"))
    assert (await kept(layer, record))[1] == payload(record)
    await layer.record_call(record, replace(payload(record), response="more"))
    assert (await kept(layer, record))[1] == replace(payload(record), response="more")


async def test_queued_calls_are_stored_in_one_statement(layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    store = usage_writes.store

    async def watched(connection: Any, dialect: Any, writes: Any) -> None:
        sizes.append(len(writes))
        await store(connection, dialect, writes)

    monkeypatch.setattr(usage_writes, "store", watched)
    owner = await user_id(layer, "alice")
    records = [call(user_id=owner, prompt_tokens=number) for number in range(150)]
    thread_id = new_id()
    await asyncio.gather(
        *(layer.record_call(record, payload(record)) for record in records),
        layer.create_step(step(thread_id, "beside them")),
        layer.update_thread(thread_id, name="beside them"),
    )
    # Where a lone write is one call of the driver, the first one has left before the others come.
    assert sizes in ([150], [149])
    found = await layer.usage_totals(EVERYTHING)
    assert (found.calls, found.prompt_tokens) == (150, sum(range(150)))


def test_a_call_is_unchanged_by_the_spool() -> None:
    record = call(
        user_id=new_id(),
        input_cost=Decimal("1E-12"),
        output_cost=Decimal("0"),
        total_cost=Decimal("8999999.000000000001"),
        tags=("a", "b"),
        price={"source": "own", "cached": None},
        is_streaming=True,
    )
    for write in (LlmCallWrite(record, payload(record)), LlmCallWrite(record), LlmCallWrite(call())):
        assert from_line(to_line(write)) == write
    with pytest.raises(datalayer.InvalidRecord):
        from_line(to_line(LlmCallWrite(record)).replace("1E-12", "one"))


async def test_a_spooled_call_is_stored_at_the_next_start(database_url: str, tmp_path: Path) -> None:
    spool = tmp_path / "spool.jsonl"
    layer = create_data_layer(database_url, spool=spool)
    record = call(total_cost=COST)
    spool.write_text(to_line(LlmCallWrite(record, payload(record))) + "\n")
    await layer.migrate()
    assert not spool.exists()
    assert (await layer.usage_totals(EVERYTHING)).total_cost == COST
    assert (await kept(layer, record))[1] == payload(record)
    await layer.close()


def test_the_queue_estimates_the_size_of_calls_and_of_what_else_may_be_large() -> None:
    record = call(error_message="x" * 1_000)
    stored_payload = LlmCallPayload(record.id, [{"content": "y" * 10_000}], "z" * 5_000)
    assert 17_000 <= rough_size(LlmCallWrite(record, stored_payload)) <= 18_000
    assert rough_size(LlmCallWrite(call())) < 2_000
    moment, large = utc_now(), {"rows": [{"cell": "x" * 10_000}] * 3}
    for write in (
        ElementWrite(Element("id", props=large), moment, None, True),
        VoteWrite(Feedback("id", "step", 1, comment="x" * 30_000), moment, None, True),
        UserWrite(User("id", "uma", large, moment)),
        ThreadWrite(Thread("id", metadata=large), moment, None, True),
    ):
        assert 30_000 <= rough_size(write) <= 33_000, write


async def test_a_takeout_moves_the_calls_of_a_user_to_another_engine(
    layer: ChainlitLayer, other: ChainlitLayer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_PAGE", 2)
    records = [(await talk(layer, "alice"))[1] for _ in range(3)]
    elsewhere = replace(records[0], id=new_id(), thread_id=(await talk(layer, "bob"))[0])
    await layer.record_call(elsewhere, payload(elsewhere))
    path = tmp_path / "alice.zip"
    await export_user(layer.database, layer.blobs, "alice", path)
    with zipfile.ZipFile(path) as archive:
        lines = [json.loads(line) for line in archive.read("llm_calls.jsonl").splitlines()]
    assert {line["id"] for line in lines} == {one.id for one in (*records, elsewhere)}
    assert lines[0]["totalCost"] == "0.000000000123"

    with lost_answers():
        report = await import_user(other.database, None, path)
    assert (report.counts["llm_calls"], report.counts["llm_call_payloads"], report.left_out_calls) == (4, 4, 0)
    for one in records:
        assert await kept(other, one) == await kept(layer, one)
    stored, stored_payload = await kept(other, elsewhere)
    assert (stored.thread_id, stored_payload) == (None, payload(elsewhere))
    assert (await other.usage_totals(EVERYTHING)).total_cost == 4 * COST
    # Importing it again changes nothing.
    await other.record_call(replace(stored, model="newer"))
    report = await import_user(other.database, None, path, skip_existing=True)
    assert (report.counts["llm_calls"], report.left_out_calls) == (0, 4)
    assert (await kept(other, elsewhere))[0].model == "newer"


@pytest.mark.parametrize(
    "change",
    [
        {"userId": new_id()},
        {"promptTokens": -1},
        {"totalCost": "-1"},
        {"totalCost": 1.5},
        {"totalCost": "NaN"},
        {"seconds": "long"},
        {"colour": "blue"},
    ],
)
async def test_a_takeout_with_invalid_calls_is_refused(
    layer: ChainlitLayer, other: ChainlitLayer, tmp_path: Path, change: dict[str, Any]
) -> None:
    await talk(layer, "alice")
    await export_user(layer.database, layer.blobs, "alice", tmp_path / "alice.zip")

    def changed(contents: dict[str, bytes]) -> None:
        line = json.loads(contents["llm_calls.jsonl"])
        contents["llm_calls.jsonl"] = json.dumps(line | change).encode() + b"\n"

    with pytest.raises(datalayer.InvalidRecord):
        await import_user(other.database, None, rewritten(tmp_path / "alice.zip", changed))
    assert (await other.usage_totals(EVERYTHING)).calls == 0
    # The next import begins from the beginning.
    async with other.database.read() as connection:
        for table in (users, threads):
            assert (await connection.execute(select(table.c.id))).all() == []
