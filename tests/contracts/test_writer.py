"""The write queue on a real database: order, isolation of failures, time limits, and a clean close."""

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import chainlit as cl
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

import datalayer
from datalayer import create_data_layer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import DEEPEST
from datalayer.database import Database
from datalayer.ownership import System
from datalayer.writes.queue import Writer
from tests.support.patience import PATIENCE_SECONDS, until
from tests.support.records import new_id, step, thread, user_id


async def test_waiting_writes_are_committed_together(database_url: str) -> None:
    database = Database(database_url)
    writer = Writer(database)
    seen: list[AsyncConnection] = []

    async def note(connection: AsyncConnection) -> int:
        seen.append(connection)
        return len(seen)

    assert await asyncio.gather(*(writer.submit(note) for _ in range(10))) == list(range(1, 11))
    assert len({id(connection) for connection in seen}) == 1
    assert len(writer) == 0
    await writer.close()
    await database.close()


async def test_an_error_of_one_write_reaches_only_its_caller(database_url: str) -> None:
    database = Database(database_url)
    writer = Writer(database)

    async def good(connection: AsyncConnection) -> str:
        return "stored"

    async def bad(connection: AsyncConnection) -> str:
        raise ZeroDivisionError

    results = await asyncio.gather(*(writer.submit(one) for one in (good, bad, good)), return_exceptions=True)
    assert results[0] == results[2] == "stored"
    assert isinstance(results[1], ZeroDivisionError)
    await writer.close()
    await database.close()


async def test_a_statement_with_too_many_parameters_is_refused_at_once(database_url: str) -> None:
    database = Database(database_url)
    writer = Writer(database)

    async def bad(connection: AsyncConnection) -> None:
        # More than either driver or SQLite takes. To make it, SQLAlchemy would take seconds.
        numbers = range(1, 300_001)
        marks = ",".join(map("${}".format, numbers) if connection.dialect.name == "postgresql" else "?" * len(numbers))
        await connection.exec_driver_sql(f"SELECT 1 WHERE 1 IN ({marks})", tuple(numbers))

    async def good(_connection: AsyncConnection) -> str:
        return "stored"

    async with asyncio.timeout(PATIENCE_SECONDS):
        results = await asyncio.gather(writer.submit(bad), writer.submit(good), return_exceptions=True)
    assert [type(one) for one in results] == [datalayer.StatementRefused, str]
    await writer.close()
    await database.close()


async def test_close_stores_queued_writes(database_url: str) -> None:
    layer = create_data_layer(database_url)
    thread_id = new_id()
    calls = [asyncio.create_task(layer.create_step(step(thread_id, str(number)))) for number in range(300)]
    await asyncio.sleep(0)
    assert layer.queued_writes == 300
    await layer.close(60)
    await asyncio.gather(*calls)
    again = create_data_layer(database_url)
    assert len((await again.get_thread(thread_id))["steps"]) == 300
    await again.close()


async def test_the_threads_whose_writes_wait_are_told_to_the_system(layer: ChainlitLayer) -> None:
    thread_id = new_id()
    writes = [asyncio.create_task(layer.create_step(step(thread_id))) for _ in range(2)]
    await asyncio.sleep(0)
    with datalayer.acting_as(datalayer.SYSTEM):
        assert layer.waiting_threads(0) == {thread_id}
        assert layer.waiting_threads(PATIENCE_SECONDS) == set()
        await asyncio.gather(*writes)
        assert layer.waiting_threads(0) == set()
    with datalayer.acting_as("alice"), pytest.raises(datalayer.Forbidden):
        layer.waiting_threads(0)


WRITES = {"sqlite": "INSERT", "postgres": "WITH"}
"""How the one statement of a thread write begins: on Postgres it changes first, and inserts only a new thread."""


@pytest.mark.parametrize("actor", ["alice", datalayer.SYSTEM])
async def test_a_thread_write_that_stores_nothing_runs_one_write_statement(
    layer: ChainlitLayer, engine: str, actor: str | System
) -> None:
    """This happens when a session ends after its thread was deleted."""
    thread_id = await thread(layer, await user_id(layer, "alice"))
    await layer.delete_thread(thread_id)
    with statements_on_threads(layer) as statements, datalayer.acting_as(actor):
        await layer.update_thread(thread_id, metadata={"mood": "calm"})
    # Why it stored nothing: there is no thread, but a mark.
    assert statements == [WRITES[engine], "SELECT", "SELECT"]
    assert await layer.get_thread(thread_id) is None


@pytest.mark.parametrize("name", [None, "new name"])
async def test_a_refused_thread_write_is_tried_once(layer: ChainlitLayer, engine: str, name: str | None) -> None:
    thread_id = await thread(layer, await user_id(layer, "alice"), name="name")
    with (
        statements_on_threads(layer) as statements,
        datalayer.acting_as("bob"),
        pytest.raises(datalayer.Forbidden),
    ):
        await layer.update_thread(thread_id, name=name, metadata={"mood": "calm"})
    assert statements == [WRITES[engine], "SELECT"]
    assert (await layer.get_thread(thread_id))["name"] == "name"


@contextmanager
def statements_on_threads(layer: ChainlitLayer) -> Iterator[list[str]]:
    """The first words of the statements that the writer runs on `threads`."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "threads" in statement:
            statements.append(statement.split(maxsplit=1)[0])

    single_writes: Any = layer.database.dialect.single_writes
    run: Any = getattr(single_writes, "execute_once", None)

    async def noted(sql: str, values: Sequence[Any]) -> Any:
        statements.append(sql.split(maxsplit=1)[0])
        return await run(sql, values)

    engine = layer.database.writing_engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        with pytest.MonkeyPatch.context() as patch:
            if single_writes is not None:
                # A lone write passes by SQLAlchemy's connections.
                patch.setattr(single_writes, "execute_once", noted)
            yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_a_write_after_close_is_refused_with_an_error(layer: ChainlitLayer) -> None:
    await layer.close()
    with pytest.raises(datalayer.StorageUnavailable, match="closed"):
        await layer.create_step(step(new_id()))


async def test_a_write_is_stored_although_its_caller_was_cancelled(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None)
    calls = [asyncio.create_task(layer.create_step(step(thread_id))) for _ in range(5)]
    await asyncio.sleep(0)
    calls[2].cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert len((await layer.get_thread(thread_id))["steps"]) == 5


async def test_a_read_does_not_wait_for_a_write_whose_caller_was_cancelled_and_that_is_stored(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(database_url)
    writer = Writer(database)
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def first(_connection: AsyncConnection) -> None: ...

    async def refused(_connection: AsyncConnection) -> None:
        raise ZeroDivisionError

    async def waits(_connection: AsyncConnection) -> None:
        if writer._admission.unstored()[0].settled:
            begun.set()
            await goes_on.wait()

    # The second spoils the batch, so each is stored alone: the first is stored while the last waits.
    cancelled, _, last = (writer.submit(one) for one in (first, refused, waits))
    cancelled.cancel()
    await begun.wait()
    read = asyncio.create_task(writer.settled())
    await asyncio.sleep(0)
    goes_on.set()
    await last
    await read
    assert not caplog.records
    await writer.close()
    await database.close()


async def test_a_failure_reaches_caller_application_and_log(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[Any] = []

    async def report(failure: datalayer.WriteFailure) -> None:
        failures.append(failure)

    layer = create_data_layer(database_url, on_write_failure=report)
    owner = new_id()
    thread_id = new_id()
    with caplog.at_level(logging.ERROR), pytest.raises(datalayer.InvalidRecord):
        await layer.update_thread(thread_id, user_id=owner)
    assert [(failure.what, failure.thread_id) for failure in failures] == [("thread", thread_id)]
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.__dict__["thread_id"] == thread_id
    # Also what no record can be made of.
    caplog.clear()
    failures.clear()
    nested: dict[str, Any] = {}
    for _ in range(DEEPEST + 1):
        nested = {"in": nested}
    step_id, element = new_id(), cl.Text(thread_id="no uuid", name="a", content="b")
    for write in (
        layer.update_thread(thread_id, metadata=nested),
        layer.create_step({**step(thread_id), "id": step_id, "metadata": nested}),
        layer.create_element(element),
    ):
        with pytest.raises(datalayer.InvalidRecord):
            await write
    told = [("thread", thread_id, None), ("step", thread_id, step_id), ("element", None, element.id)]
    assert [(one.what, one.thread_id, one.record_id) for one in failures] == told
    assert [(one.__dict__["thread_id"], one.__dict__["record_id"]) for one in caplog.records] == [
        (thread, record) for _, thread, record in told
    ]
    await layer.close()


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:9/none", "sqlite:////no/such/folder/chat.db"])
async def test_an_unavailable_database_is_a_typed_error(url: str) -> None:
    layer = create_data_layer(url, patience_seconds=0.2)
    with pytest.raises(datalayer.StorageUnavailable):
        await layer.ping()
    with pytest.raises(datalayer.StorageUnavailable):
        await layer.create_step(step(new_id()))
    await layer.close()
    # aiosqlite's thread calls the loop after its connection failed, so the loop must still run.
    await until(lambda: not any("connection_worker" in worker.name for worker in threading.enumerate()))


@pytest.mark.parametrize(
    "url",
    ["", "mysql://localhost/x", "sqlite://", "sqlite:///:memory:", "chat.db", "postgresql://h:notaport/x"],
)
def test_an_invalid_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(datalayer.ConfigurationError):
        create_data_layer(url)
