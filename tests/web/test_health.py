"""`/health`, `/ready` and `/metrics`."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import event, insert

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.schema.chat import steps
from tests.support.records import new_id, thread, user_id
from tests.web.conftest import Serve, no_gate
from threadkeeper import metrics
from threadkeeper.web import health
from threadkeeper.web.auth.gate import Gate
from threadkeeper.web.health import Readiness, SearchProgress, health_router
from threadkeeper.web.mount import mount


@pytest.fixture
async def small_layer(tmp_path: Path) -> AsyncIterator[ChainlitLayer]:
    layer = datalayer.create_data_layer(f"sqlite:///{tmp_path}/small.db", f"file://{tmp_path}/blobs")
    yield layer
    await layer.close()


async def test_healthy_and_ready_with_real_storage(serve: Serve, chainlit_app: FastAPI, layer: ChainlitLayer) -> None:
    mount(chainlit_app, health_router(layer), gate=Gate(layer))
    async with serve() as client:
        assert (await client.get("/health")).json() == {"status": "ok"}
        answer = await client.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "search_texts_left": 0})


async def test_readiness_names_the_failing_parts_and_nothing_else(
    serve: Serve, chainlit_app: FastAPI, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").write_text("", encoding="utf-8")
    layer = datalayer.create_data_layer(
        "postgresql://someone:hunter2@127.0.0.1:1/secret", f"file://{tmp_path}/a file/blobs"
    )
    mount(chainlit_app, health_router(layer), gate=Gate(layer))
    async with serve() as client:
        answers = await asyncio.gather(*(client.get("/ready") for _ in range(5)))
        assert (await client.get("/health")).status_code == 200
    for answer in answers:
        assert (answer.status_code, answer.json()) == (503, {"status": "not ready", "failing": ["database", "blobs"]})
    messages = [record.getMessage() for record in caplog.records if record.name == "threadkeeper.web.health"]
    assert len(messages) == 2
    assert "nothing listens at that host and port" in messages[0]
    assert "hunter2" not in caplog.text
    await layer.close()


async def test_a_part_that_does_not_answer_times_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.1)
    # The kernel accepts the connection, and nothing answers on it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        layer = datalayer.create_data_layer(
            f"postgresql://someone@127.0.0.1:{silent.getsockname()[1]}/x", f"file://{tmp_path}/blobs"
        )
        assert await Readiness(layer).failing() == ["database"]
        assert "no answer within 0.1 seconds" in caplog.text
        await layer.close()


async def test_the_storage_is_checked_at_most_once_a_second(
    small_layer: ChainlitLayer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    asked: list[str] = []
    engine = small_layer.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda _c, _k, statement, *_: asked.append(statement))
    now = 100.0
    readiness = Readiness(small_layer, clock=lambda: now)
    await asyncio.gather(*(readiness.failing() for _ in range(50)))
    assert asked.count("SELECT 1") == 1
    blobs = tmp_path / "blobs"
    blobs.rmdir()
    blobs.write_text("in the way", encoding="utf-8")
    assert await readiness.failing() == []
    now += 1
    assert await readiness.failing() == ["blobs"]
    now += 1
    assert await readiness.failing() == ["blobs"]
    blobs.unlink()
    now += 1
    assert await readiness.failing() == []
    assert asked.count("SELECT 1") == 4
    messages = [record.getMessage() for record in caplog.records if record.name == health.__name__]
    assert [words.split(":")[0] for words in messages] == ["not ready", "ready again"]


async def test_ready_tells_how_many_texts_the_search_index_lacks(
    serve: Serve, chainlit_app: FastAPI, layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await user_id(layer, "uma")
    thread_id = await thread(layer, owner)
    before = await layer.texts_to_index()
    monkeypatch.setattr(layer.search_indexer, "note", lambda **_: None)
    monkeypatch.setattr(layer.search_indexer, "_begin", lambda: None)
    async with layer.database.write() as connection:
        # As a restore does: another program writes, and the triggers mark the texts.
        for _ in range(3):
            await connection.execute(
                insert(steps).values(id=new_id(), threadId=thread_id, name="x", type="user_message", output="words")
            )
    mount(chainlit_app, health_router(layer), gate=no_gate)
    async with serve() as client:
        answer = await client.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "search_texts_left": before + 3})


async def test_the_texts_left_are_counted_every_five_seconds_and_a_failure_is_told_in_the_log(
    small_layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counts: list[int] = []

    async def count() -> int:
        counts.append(7 + len(counts))
        if len(counts) == 2:
            raise datalayer.StorageUnavailable("the index is locked")
        return counts[-1]

    monkeypatch.setattr(small_layer, "texts_to_index", count)
    now = 100.0
    search = SearchProgress(small_layer, clock=lambda: now)
    assert await asyncio.gather(*(search.texts_left() for _ in range(50))) == [7] * 50
    now += health.COUNT_EVERY_SECONDS - 0.1
    assert await search.texts_left() == 7
    assert counts == [7]
    now += 0.1
    assert await search.texts_left() is None
    assert "could not be counted: the index is locked" in caplog.text
    now += health.COUNT_EVERY_SECONDS
    assert await search.texts_left() == 9


async def test_a_probe_does_not_wait_for_a_long_count(
    small_layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PROBE_WAITS_SECONDS", 0.01)
    goes_on = asyncio.Event()

    async def count() -> int:
        await goes_on.wait()
        return 12_345

    monkeypatch.setattr(small_layer, "texts_to_index", count)
    search = SearchProgress(small_layer)
    assert await search.texts_left() is None
    goes_on.set()
    monkeypatch.setattr(health, "PROBE_WAITS_SECONDS", 60)
    assert await search.texts_left() == 12_345


async def test_a_layer_without_a_blob_store_is_not_ready(tmp_path: Path) -> None:
    layer = datalayer.create_data_layer(f"sqlite:///{tmp_path}/x.db")
    assert await Readiness(layer).failing() == ["blobs"]
    await layer.close()


async def test_metrics_have_current_values(serve: Serve, chainlit_app: FastAPI, small_layer: ChainlitLayer) -> None:
    waiting, sessions = 3, 7
    metrics.watch(queued_write_count=lambda: waiting, open_session_count=lambda: sessions)
    metrics.model_errors.labels("rate_limit").inc()
    metrics.answers.labels("complete").inc()
    metrics.first_token_seconds.observe(0.3)
    mount(chainlit_app, health_router(small_layer), gate=no_gate)
    async with serve() as client:
        text = (await client.get("/metrics")).text
        waiting = 4
        later = (await client.get("/metrics")).text
    assert "threadkeeper_queued_writes 3.0" in text
    assert "threadkeeper_queued_writes 4.0" in later
    assert "threadkeeper_open_sessions 7.0" in text
    for line in (
        'threadkeeper_model_errors_total{kind="rate_limit"}',
        'threadkeeper_answers_total{outcome="complete"}',
        'threadkeeper_logins_total{outcome="failed"}',
        'threadkeeper_first_token_seconds_bucket{le="0.5"}',
        "threadkeeper_write_failures_total",
        "process_resident_memory_bytes",
    ):
        assert line in text


async def test_metrics_require_the_token_if_one_is_set(
    serve: Serve, chainlit_app: FastAPI, small_layer: ChainlitLayer
) -> None:
    mount(chainlit_app, health_router(small_layer, metrics_token="right"), gate=no_gate)
    async with serve() as client:

        async def status(**headers: str) -> int:
            return (await client.get("/metrics", headers=headers)).status_code

        assert await status() == 401
        assert await status(Authorization="Bearer wrong") == 401
        assert await status(Authorization="Basic right") == 401
        assert await status(Authorization="Bearer") == 401
        assert await status(Authorization="Bearer right") == 200
