"""Writes left at `close` are spooled and stored at the next start; the queue is bounded."""

import asyncio
import contextlib
import stat
import threading
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import chainlit as cl
import pytest
from chainlit.user import User
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

import datalayer
from datalayer import JobContext, create_data_layer
from datalayer.chainlit_dicts import step_of
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.database import Database
from datalayer.history import feedback
from datalayer.records.chat import Step
from datalayer.records.writes import Recorded, StepWrite
from datalayer.schema.chat import steps
from datalayer.writes.overtaken import Newer
from datalayer.writes.queue import Writer
from datalayer.writes.replay import replay
from datalayer.writes.spool import KINDS, Spool
from datalayer.writes.steps import coalesced
from tests.support import program
from tests.support.faulty_network import FaultyNetwork
from tests.support.patience import PATIENCE_SECONDS, until
from tests.support.pgbouncer import through
from tests.support.postgres import Databases
from tests.support.records import listed, new_id, step, thread, user_id, vote

_REPLAY = """
import asyncio, pathlib, sys
from datalayer import create_data_layer
asyncio.run(create_data_layer(sys.argv[1], spool=pathlib.Path(sys.argv[2])).migrate())
"""


async def test_writes_left_at_close_are_stored_at_the_next_start(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool, thread_id = tmp_path / "spool.jsonl", new_id()
    writes = [step(thread_id, str(number)) for number in range(300)]
    layer = create_data_layer(database_url, spool=spool)
    async with standing_still(database_url):
        calls: list[asyncio.Task[Any]] = [asyncio.create_task(layer.create_step(one)) for one in writes]
        calls.append(asyncio.create_task(layer.update_step({**writes[0], "output": "newest"})))
        calls.append(asyncio.create_task(layer.update_thread(thread_id, name="Kept", metadata={"a": None, "b": 1})))
        calls.append(asyncio.create_task(layer.delete_step(new_id())))
        await asyncio.sleep(0.05)
        await layer.close(0.3)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, datalayer.StorageUnavailable) for result in results), "a failure was not reported"
    assert "303 writes could not be stored before the end: 303 are in the spool file, 0 are lost" in caplog.text
    assert stat.S_IMODE(spool.stat().st_mode) == 0o600
    with spool.open("a") as file:
        file.write('{"kind": "step", "cut sh')

    again = create_data_layer(database_url, spool=spool)
    await again.migrate()
    kept = await again.get_thread(thread_id)
    assert kept["name"] == "Kept"
    assert {one["id"] for one in kept["steps"]} == {one["id"] for one in writes}
    assert [one["output"] for one in kept["steps"] if one["id"] == writes[0]["id"]] == ["newest"]
    assert not spool.exists()
    assert (tmp_path / "spool.refused.jsonl").read_text() == '{"kind": "step", "cut sh\n'
    await again.close()


async def test_writes_are_spooled_although_the_steps_of_jobs_cannot_be_closed(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = urlsplit(database_url)
    if parts.port is None:
        pytest.skip("a file gives an answer")
    monkeypatch.setattr(datalayer.jobs.jobs, "_CHECKPOINT_SECONDS", 0.5)
    has_made_a_step = asyncio.Event()

    async def work(context: JobContext) -> None:
        await context.step("first", nothing)
        has_made_a_step.set()
        await asyncio.Event().wait()

    async def nothing() -> None: ...

    async with FaultyNetwork(parts.port) as network:
        layer = create_data_layer(through(database_url, network.port), spool=tmp_path / "spool.jsonl")
        await layer.migrate()
        layer.register_job("works", work)
        layer.run_jobs()
        await layer.start_job("works")
        await has_made_a_step.wait()
        network.fall_silent()
        late = asyncio.create_task(layer.create_step(step(new_id())))
        await until(lambda: layer.queued_writes)
        await asyncio.wait_for(layer.close(0.3), PATIENCE_SECONDS)
        with pytest.raises(datalayer.StorageUnavailable, match="kept in the spool file"):
            await late
        network.speak()
        await until(lambda: not any(one.get_name() == "close-checkpoints" for one in asyncio.all_tasks()))
        # A thread that goes on waiting for the next step would also keep a command from ending.
        await until(lambda: not any("dbos-executor" in one.name for one in threading.enumerate()))


async def test_every_kind_of_write_is_spooled_and_stored_at_the_next_start(database_url: str, tmp_path: Path) -> None:
    spool, blobs = tmp_path / "spool.jsonl", f"file://{tmp_path / 'blobs'}"
    layer = create_data_layer(database_url, blobs, spool=spool)
    thread_id, gone_id = await thread(layer, None, "before"), await thread(layer, None)
    first, second, third = [step(thread_id, str(number)) for number in range(3)]
    for one in (first, second, third):
        await layer.create_step(one)
    old_vote = await layer.upsert_feedback(vote(second["id"], 0))
    fate: dict[str, cl.Element] = {}
    for name, home in (("deleted", thread_id), ("with its step", thread_id), ("with its thread", gone_id)):
        fate[name] = cl.File(name=name, content=b"x", thread_id=home)
        fate[name].for_id = third["id"] if home == thread_id else None
        await layer.create_element(fate[name])
    assert len(list((tmp_path / "blobs").glob("*/*"))) == 3
    new = cl.File(name="new", content=b"kept", thread_id=thread_id)
    new.for_id = first["id"]

    async with standing_still(database_url):
        calls: list[asyncio.Task[Any]] = [
            asyncio.create_task(call)
            for call in (
                layer.create_user(User(identifier="late", metadata={"image": "x"})),
                layer.replace_thread_name(thread_id, "before", "after"),
                layer.delete_element(fate["deleted"].id, thread_id),
                layer.upsert_feedback(vote(first["id"], 1, "good")),
                layer.delete_feedback(old_vote),
                layer.set_step_favorite(first, True),
                layer.delete_step(third["id"]),
                layer.delete_thread(gone_id),
                layer.create_step(step(gone_id, "too late")),
                layer.create_element(new),
            )
        ]
        # An upload is announced before the file is sent.
        await until(lambda: layer.queued_writes > len(calls))
        await layer.close(0.3)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, datalayer.StorageUnavailable) for result in results), results
    assert len(spool.read_text().splitlines()) == len(calls) + 1

    again = create_data_layer(database_url, blobs, spool=spool)
    # If a process ends after storing a line and before removing it, the line is applied twice without harm.
    lines = spool.read_text()
    await again.migrate()
    spool.write_text(lines)
    await again.migrate()
    assert not spool.exists()
    assert not (tmp_path / "spool.refused.jsonl").exists()
    kept = await again.get_thread(thread_id)
    assert kept["name"] == "after"
    assert [one["id"] for one in kept["steps"]] == [first["id"], second["id"]]
    assert kept["steps"][0]["feedback"]["comment"] == "good"
    assert kept["steps"][0]["metadata"]["favorite"]
    assert kept["steps"][1].get("feedback") is None
    assert [one["id"] for one in kept["elements"]] == [new.id]
    assert await again.get_thread(gone_id) is None
    found = await again.get_user("late")
    assert found is not None
    assert found.metadata == {"image": "x"}
    assert [path.read_bytes() for path in (tmp_path / "blobs").glob("*/*")] == [b"kept"]
    async with again.database.read() as connection:
        assert [value for value, *_ in await feedback.changes_of_step(connection, first["id"])] == [1]
        assert [value for value, *_ in await feedback.changes_of_step(connection, second["id"])] == [0, None]
    await again.close()


def test_the_spool_format_has_every_kind_of_write() -> None:
    assert set(get_args(Recorded)) == set(KINDS.values())


async def test_a_replayed_cut_keeps_steps_that_were_written_later(database_url: str, tmp_path: Path) -> None:
    spool = tmp_path / "spool.jsonl"
    layer, other = create_data_layer(database_url, spool=spool), create_data_layer(database_url)
    thread_id = await thread(layer, None)
    asked, answered = step(thread_id, "asked"), step(thread_id, "answered")
    await layer.create_step(asked)
    await layer.create_step(answered)
    async with standing_still(database_url):
        call = asyncio.create_task(layer.cut_thread(thread_id, asked["id"]))
        await asyncio.sleep(0.05)
        await layer.close(0.3)
    with pytest.raises(datalayer.StorageUnavailable, match="kept in the spool file"):
        await call
    newer = step(thread_id, "asked elsewhere")
    await other.create_step(newer)
    again = create_data_layer(database_url, spool=spool)
    await again.migrate()
    assert [one["id"] for one in (await again.get_thread(thread_id))["steps"]] == [asked["id"], newer["id"]]
    await again.close()
    await other.close()


async def test_a_replay_leaves_what_was_changed_since(database_url: str, tmp_path: Path) -> None:
    spool, thread_id = tmp_path / "spool.jsonl", new_id()
    layer, other = create_data_layer(database_url, spool=spool), create_data_layer(database_url)
    asked, voted, withdrawn = (step(thread_id, str(number)) for number in range(3))
    for one in (asked, voted, withdrawn):
        await layer.create_step(one)
    await layer.update_step({**asked, "output": "a first state"})
    first = await layer.upsert_feedback(vote(voted["id"], 1))
    async with standing_still(database_url):
        calls = [
            asyncio.create_task(call)
            for call in (
                layer.update_step({**asked, "output": "older", "generation": {"model": "kept"}}),
                layer.upsert_feedback(vote(voted["id"], 0)),
                layer.delete_feedback(first),
                layer.upsert_feedback(vote(withdrawn["id"], 0)),
                layer.update_step({**withdrawn, "output": "not changed since"}),
            )
        ]
        await until(lambda: layer.queued_writes == len(calls))
        await layer.close(0.3)
    await asyncio.gather(*calls, return_exceptions=True)
    await other.update_step({**asked, "output": "newer"})
    await other.upsert_feedback(vote(voted["id"], 1))
    await other.delete_feedback(await other.upsert_feedback(vote(withdrawn["id"], 1)))

    again = create_data_layer(database_url, spool=spool)
    await again.migrate()
    kept = (await again.get_thread(thread_id))["steps"]
    assert [one["output"] for one in kept] == ["newer", "1", "not changed since"]
    # What the newer state does not have is filled in.
    assert kept[0]["generation"] == {"model": "kept"}
    assert [(one.get("feedback") or {}).get("value") for one in kept] == [None, 1, None]
    assert not (tmp_path / "spool.refused.jsonl").exists()
    await again.close()
    await other.close()


async def test_a_full_queue_admits_writes_in_order_and_in_time(database_url: str) -> None:
    database = Database(database_url)
    writer = Writer(database, most_queued=5, admission_seconds=0.2)
    gate, seen = asyncio.Event(), []

    def noting(number: int) -> Any:
        async def note(_connection: AsyncConnection) -> None:
            await gate.wait()
            seen.append(number)

        return note

    first = [writer.submit(noting(number)) for number in range(12)]
    await asyncio.sleep(0.4)
    later = [writer.submit(noting(number)) for number in range(12, 14)]
    gate.set()
    results = await asyncio.gather(*first, *later, return_exceptions=True)
    refused = [number for number, result in enumerate(results) if isinstance(result, datalayer.StorageUnavailable)]
    assert refused == list(range(5, 12))
    assert seen == [0, 1, 2, 3, 4, 12, 13]
    assert await writer.close() == (0, 0)
    await database.close()


async def test_the_queue_has_a_limit_in_bytes_too(database_url: str) -> None:
    database = Database(database_url)
    writer = Writer(database, most_queued_bytes=50_000, admission_seconds=0.2)
    thread_id = new_id()
    async with standing_still(database_url):
        calls = [writer.submit(step_write(thread_id, "x" * 10_000), thread_id) for _ in range(12)]
        # Four are in the queue and four wait for admission; the others fail at once.
        assert [call.done() for call in calls] == [False] * 8 + [True] * 4
        await asyncio.sleep(0.4)
        assert [call.done() for call in calls] == [False] * 4 + [True] * 8
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 4 + [datalayer.StorageUnavailable] * 8
    assert await writer.submit(step_write(thread_id, "x" * 100_000), thread_id) is None
    assert await writer.close() == (0, 0)
    await database.close()


@pytest.mark.slow
@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:9/none", "sqlite:////no/such/folder/chat.db"])
async def test_memory_is_bounded_while_the_database_is_unavailable(url: str) -> None:
    most = 8 * 1024**2
    database = Database(url)
    writer = Writer(database, most_queued_bytes=most, patience_seconds=60)
    thread_id = new_id()
    tracemalloc.start()
    try:
        for number in range(2_000):
            writer.submit(step_write(thread_id, f"{number:0100000d}"), thread_id)
            if number % 10 == 0:
                await asyncio.sleep(0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"200 MB offered, a bound of {most / 1e6:.0f} MB: {peak / 1e6:.0f} MB at most, {len(writer)} writes kept")
    assert peak < 3 * most
    assert len(writer) * 100_000 > most
    rescued, lost = await writer.close(0.1)
    assert (rescued, lost) == (0, lost)
    assert lost * 100_000 > most
    await database.close()
    # aiosqlite's thread calls the loop after its connection failed, so the loop must still run.
    await until(lambda: not any("connection_worker" in worker.name for worker in threading.enumerate()))


@pytest.mark.slow
async def test_killing_a_process_during_a_replay_loses_nothing(database_url: str, tmp_path: Path) -> None:
    spool, thread_id = tmp_path / "spool.jsonl", new_id()
    writes = [step_write(thread_id, str(number)) for number in range(800)]
    Spool(spool).append(writes)
    witness = create_data_layer(database_url)
    process = program.start(
        program.PROGRAM, [_REPLAY, database_url, str(spool)], directory=tmp_path, log=tmp_path / "log"
    )
    await until_stored(witness, thread_id, 1)
    process.kill()
    await process.wait()
    kept = await witness.get_thread(thread_id)
    print(f"killed with {len(kept['steps'])} of {len(writes)} stored, {len(Spool(spool).take())} lines in the file")
    again = create_data_layer(database_url, spool=spool)
    await again.migrate()
    stored = (await again.get_thread(thread_id))["steps"]
    assert [one["output"] for one in stored] == [str(number) for number in range(len(writes))]
    assert not spool.exists()
    assert not Spool(spool).refused.exists()
    await again.close()
    await witness.close()


def test_updates_that_are_stored_as_one_have_the_time_of_the_last() -> None:
    step_id, thread_id = new_id(), new_id()
    older, newer = (
        StepWrite(Step(step_id, thread_id, output=output), moment, False, False, None, True)
        for output, moment in (("older", "2026-11-30T10:00:01.000000Z"), ("newer", "2026-11-30T10:00:09.000000Z"))
    )
    # A spooled write of the time between them is older than the text that is stored.
    assert coalesced([older, newer]) == [newer]


async def test_a_refused_line_leaves_the_spool_with_its_group(tmp_path: Path) -> None:
    spool, left = Spool(tmp_path / "spool.jsonl"), list[int]()
    spool.append([step_write(new_id(), str(number)) for number in range(999)])
    spool.path.write_text("damaged\n" + spool.path.read_text())

    async def store(_write: Recorded) -> None:
        left.append(len(spool.take()))

    async def newer_than(_writes: Sequence[Recorded]) -> Newer:
        return Newer()

    await replay(spool, store, newer_than)
    # Written anew behind the damaged line, and each time that half of it is done: a crash repeats no more than that.
    assert list(dict.fromkeys(left)) == [1000, 800, 400, 200]
    assert spool.refused.read_text() == "damaged\n"


async def test_an_outage_during_a_replay_loses_nothing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, thread_id = tmp_path / "spool.jsonl", new_id()
    writes = [step_write(thread_id, str(number)) for number in range(500)]
    Spool(spool).append(writes)
    await limit_lock_waits(database_url)
    layer = create_data_layer(database_url, spool=spool, patience_seconds=0.3)
    # Another thread takes the lock as soon as the first half is stored and removed from the file.
    elsewhere, lock, keep = asyncio.new_event_loop(), contextlib.AsyncExitStack(), Spool.keep
    runner = threading.Thread(target=elsewhere.run_forever)
    runner.start()

    def keep_and_lock(self: Spool, lines: Sequence[str]) -> None:
        monkeypatch.undo()
        keep(self, lines)
        asyncio.run_coroutine_threadsafe(lock.enter_async_context(standing_still(database_url)), elsewhere).result(30)

    try:
        monkeypatch.setattr(Spool, "keep", keep_and_lock)
        with pytest.raises(datalayer.StorageUnavailable):
            await layer.migrate()
        assert len(Spool(spool).take()) == 100
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(lock.aclose(), elsewhere))
        await layer.migrate()
    finally:
        elsewhere.call_soon_threadsafe(elsewhere.stop)
        await asyncio.to_thread(runner.join, 30)
    stored = (await layer.get_thread(thread_id))["steps"]
    assert [one["output"] for one in stored] == [str(number) for number in range(len(writes))]
    assert not spool.exists()
    await layer.close()
    elsewhere.close()


@pytest.mark.without_pooler  # a pooler has fewer connections to the server
async def test_a_read_replaces_connections_that_the_server_has_killed(database_url: str, engine: str) -> None:
    if engine == "sqlite":
        pytest.skip("SQLite has no server")
    layer = create_data_layer(database_url)
    await asyncio.gather(*(layer.ping() for _ in range(5)))
    other = Database(database_url)
    async with other.read() as connection:
        killed = await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = :name AND pid <> pg_backend_pid()"
            ),
            {"name": urlsplit(database_url).path[1:]},
        )
        assert len(killed.all()) == 5
    await asyncio.sleep(0.1)
    for _ in range(5):
        await layer.ping()
    await layer.close()
    await other.close()


def step_write(thread_id: str, output: str) -> StepWrite:
    return StepWrite(step_of(step(thread_id, output)), utc_now(), created=True, opens=True, actor=None, system=True)


async def until_stored(layer: ChainlitLayer, thread_id: str, count: int) -> None:
    """Wait until the thread has at least this number of steps."""
    found = select(func.count()).select_from(steps).where(steps.c.threadId == thread_id)
    async with asyncio.timeout(60), layer.database.read() as connection:
        while (await connection.execute(found)).scalar_one() < count:
            await connection.rollback()
            await asyncio.sleep(0.001)


async def limit_lock_waits(database_url: str) -> None:
    """Limit waits for locks to 0.2 seconds on new connections; SQLite always has a limit of one second."""
    database = Database(database_url)
    async with database.write() as connection:
        if connection.dialect.name == "postgresql":
            name = urlsplit(database_url).path[1:]
            await connection.execute(text(f"ALTER DATABASE \"{name}\" SET lock_timeout = '200ms'"))
    await database.close()


@contextlib.asynccontextmanager
async def standing_still(database_url: str) -> AsyncIterator[None]:
    """Block all writes to the database within the block."""
    database = Database(database_url)
    # A migrating connection waits longer for the lock.
    async with database.write(migrates=True) as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text("SET LOCAL lock_timeout = 0"))
            await connection.execute(text("LOCK TABLE users, threads, steps, elements, feedbacks IN EXCLUSIVE MODE"))
        yield
    await database.close()


# A database to which somebody has added a trigger that cannot run.
_BROKEN = {
    ("postgres", datalayer.StatementRefused): "RAISE EXCEPTION 'hunter2' USING ERRCODE = '42883'",
    ("postgres", datalayer.SchemaError): "RAISE EXCEPTION 'hunter2' USING ERRCODE = '42P01'",
    ("sqlite", datalayer.StatementRefused): "SELECT absent(1)",
    ("sqlite", datalayer.SchemaError): "INSERT INTO absent VALUES (1)",
}


@pytest.mark.parametrize("error", [datalayer.StatementRefused, datalayer.SchemaError])
async def test_a_write_that_is_refused_for_a_defect_is_kept(
    database_url: str,
    engine: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    error: type[datalayer.DataLayerError],
) -> None:
    told: list[datalayer.WriteFailure] = []

    async def tell(failure: datalayer.WriteFailure) -> None:
        told.append(failure)

    layer = create_data_layer(database_url, spool=tmp_path / "spool.jsonl", on_write_failure=tell)
    await layer.migrate()
    thread_id = new_id()
    await layer.create_step(step(thread_id, "stored"))
    broken = _BROKEN[engine, error]
    statements = [f"CREATE TRIGGER broken BEFORE INSERT ON steps BEGIN {broken}; END"]
    if engine == "postgres":
        statements = [
            f"CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {broken}; END $$",
            "CREATE TRIGGER broken BEFORE INSERT ON steps FOR EACH ROW EXECUTE FUNCTION broken()",
        ]
    async with layer.database.write() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)
    with pytest.raises(error):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await layer.create_step(step(thread_id, "kept"))
    (lost,) = told
    assert (lost.what, lost.thread_id) == ("step", thread_id)
    assert "a write is kept in the file of refused writes, spool.refused.jsonl" in caplog.text
    assert "hunter2" not in caplog.text
    kept = tmp_path / "spool.refused.jsonl"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    async with layer.database.write() as connection:
        await connection.exec_driver_sql("DROP TRIGGER broken" + (" ON steps" if engine == "postgres" else ""))
    # The operator renames the file, and the next start stores its writes.
    kept.rename(tmp_path / "spool.jsonl")
    await layer.migrate()
    assert [one["output"] for one in (await layer.get_thread(thread_id))["steps"]] == ["stored", "kept"]
    await layer.close()


@pytest.mark.parametrize("sequence", ["search_pending", "search_texts"])
async def test_a_sequence_that_is_behind_its_table_is_no_fault_of_the_record(
    postgres: Databases, migrated_postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sequence: str
) -> None:
    """As after a copy by replication, which leaves out the sequences."""
    url = postgres.create(migrated_postgres)
    layer = create_data_layer(url, spool=tmp_path / "spool.jsonl")
    # Only searches index.
    monkeypatch.setattr(layer.search_indexer, "_begin", lambda: None)
    owner = await user_id(layer, "alice")
    made = await thread(layer, owner)
    assert await listed(layer, owner, search="thread") == [made]
    # An id that the sequence gives next.
    taken = {
        "search_pending": 'INSERT INTO search_pending ("threadId") VALUES (gen_random_uuid())',
        "search_texts": "SELECT 1",
    }[sequence]
    async with layer.database.write() as connection:
        await connection.execute(text(taken))
        await connection.execute(text(f"SELECT setval('{sequence}_id_seq', (SELECT max(id) FROM {sequence}), false)"))
    words = f"the sequence of {sequence}.id is behind its table"
    if sequence == "search_pending":
        with pytest.raises(datalayer.SchemaError, match=words):
            await layer.create_step(step(made, "kept"))
        assert len((tmp_path / "spool.refused.jsonl").read_text().splitlines()) == 1
    else:
        await layer.create_step(step(made, "needle"))
        with pytest.raises(datalayer.SchemaError, match=words):
            await listed(layer, owner, search="needle")
    async with layer.database.write() as connection:
        await connection.execute(text(f"SELECT setval('{sequence}_id_seq', max(id)) FROM {sequence}"))
    await layer.create_step(step(made, "haystack"))
    assert await listed(layer, owner, search="haystack") == [made]
    assert await listed(layer, owner, search="needle") == ([made] if sequence == "search_texts" else [])
    await layer.close()
    postgres.drop(url)


async def test_a_refused_write_that_cannot_be_kept_is_told(
    layer: ChainlitLayer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(_: Recorded) -> None:
        raise datalayer.StatementRefused("the database refuses a statement")

    monkeypatch.setattr(layer, "_apply", refuse)
    for spool in (None, Spool(tmp_path / "no folder" / "spool.jsonl")):
        monkeypatch.setattr(layer, "_spool", spool)
        with pytest.raises(datalayer.StatementRefused):
            await layer.create_step(step(new_id(), "lost"))
    assert caplog.text.count("the file of refused writes cannot be written") == 1
    assert caplog.text.count("step was not stored") == 2
