"""A write that is alone in the queue leaves within its call: order, retries, spool, cancellation and reads hold."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from chainlit.user import User
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import datalayer
from datalayer import create_data_layer
from datalayer.chainlit_dicts import element_of
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import utc_now
from datalayer.records.writes import ElementDeletion, ElementWrite
from tests.contracts.test_elements import text_element
from tests.support.faulty_network import FaultyNetwork
from tests.support.patience import until
from tests.support.records import new_id, step, thread, user_id, vote

OUTPUTS = ("create", "update")
# Each call waits for its end, is cancelled in flight, or is left alone while the next one is made.
CALLS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(OUTPUTS), st.sampled_from(["wait", "cancel", "go on"])), max_size=12
)


async def test_a_lone_step_needs_no_task_beside_its_callers(layer: ChainlitLayer) -> None:
    first = step(await ready_thread(layer))
    for write in (layer.create_step(first), layer.update_step({**first, "output": "later"})):
        call = asyncio.create_task(write)
        await asyncio.sleep(0)
        assert layer.queued_writes == 1
        assert not workers()
        await call
    assert layer.queued_writes == 0


async def test_every_write_of_one_statement_needs_no_task_beside_its_callers(layer: ChainlitLayer, engine: str) -> None:
    if engine == "sqlite":
        pytest.skip("on SQLite, the worker stores every write but a step")
    alice = await user_id(layer, "alice")
    thread_id = await thread(layer, alice)
    written, other = step(thread_id), step(thread_id)
    for one in (written, other):
        await layer.create_step(one)
    drawing, doomed = (text_element(thread_id, written["id"], "text") for _ in range(2))
    await layer.create_element(doomed)
    kept = await layer.upsert_feedback(vote(other["id"], 1))
    with datalayer.acting_as("alice"):
        end = ElementDeletion(doomed.id, thread_id, "alice", False)
        calls: dict[str, Any] = {
            "user": lambda: layer.create_user(User(identifier="alice", metadata={"key": 1})),
            "thread": lambda: layer.update_thread(thread_id, metadata={"key": 1}),
            "favourite": lambda: layer.set_step_favorite(written, True),
            "vote": lambda: layer.upsert_feedback(vote(written["id"], 1)),
            "withdrawal": lambda: layer.delete_feedback(kept),
            "element": lambda: layer._writer.store(element_write(drawing), thread_id),
            "element's end": lambda: layer._writer.store(end, thread_id),
            "step": lambda: layer.delete_step(other["id"]),
        }
        beside = {}
        for name, call in calls.items():
            await until(lambda: not workers())
            ended = asyncio.ensure_future(call())
            while not layer.queued_writes and not ended.done():
                await asyncio.sleep(0)
            beside[name] = workers()
            await ended
            calls[name] = ended.result()
    assert beside == {key: [] for key in calls}
    found = await layer.get_thread(thread_id)
    (left,) = found["steps"]
    assert (left["metadata"], left["feedback"]["id"]) == ({"favorite": True}, calls["vote"])
    assert (found["metadata"], [one["id"] for one in found["elements"]]) == ({"key": 1}, [drawing.id])
    assert (calls["user"].id, calls["user"].metadata, calls["withdrawal"]) == (alice, {"key": 1}, True)


def element_write(element: Any) -> ElementWrite:
    return ElementWrite(element_of(element.to_dict()), utc_now(), "alice", system=False)


async def test_a_step_of_a_thread_and_a_state_of_a_step_that_the_process_stored_need_short_statements(
    layer: ChainlitLayer, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "sqlite":
        pytest.skip("on SQLite, steps have fixed statements")
    alice = await user_id(layer, "alice")
    await ready_thread(layer)
    hot: Any = layer.database.dialect.hot_paths
    send, sent = hot.execute_once, list[str]()

    async def recording(sql: str, values: Any) -> Any:
        sent.append(sql)
        return await send(sql, values)

    monkeypatch.setattr(hot, "execute_once", recording)
    answer = step(new_id(), "first", type="assistant_message")
    with datalayer.acting_as("alice"):
        await layer.update_thread(answer["threadId"], name="new", user_id=alice)
        sent.clear()
        await layer.create_step(answer)
        await layer.update_step({**answer, "output": "second"})
        await layer.update_step({**answer, "type": "user_message", "output": "third"})
        assert await outputs(layer, answer["threadId"]) == {answer["id"]: "third"}
    begins = [sql.split("(")[1].split(" ")[0] if sql.startswith("WITH") else sql.split(" ")[0] for sql in sent]
    # The thread is changed and so locked; an answer's state changes one row; a question's locks the thread first.
    assert begins == ["UPDATE", "UPDATE", "SELECT"]
    assert ["INSERT INTO steps" in sql for sql in sent] == [True, False, True]
    assert not any("INSERT INTO threads" in sql for sql in sent)


async def test_a_state_of_a_step_that_another_process_has_deleted_is_stored(
    layer: ChainlitLayer, database_url: str
) -> None:
    thread_id = await ready_thread(layer)
    answer = step(thread_id, "first", type="assistant_message")
    await layer.create_step(answer)
    other = create_data_layer(database_url)
    await other.delete_step(answer["id"])
    await other.close()
    await layer.update_step({**answer, "output": "second"})
    assert await outputs(layer, thread_id) == {answer["id"]: "second"}


async def test_writes_that_come_while_a_lone_one_is_in_flight_are_stored_after_it(layer: ChainlitLayer) -> None:
    thread_id = await ready_thread(layer)
    one, other = step(thread_id, "first"), step(thread_id, "other")
    calls = [asyncio.create_task(layer.create_step(one))]
    await asyncio.sleep(0)
    calls.append(asyncio.create_task(layer.update_step({**one, "output": "second"})))
    calls.append(asyncio.create_task(layer.create_step(other)))
    calls.append(asyncio.create_task(layer.create_step({**one, "output": "a creation that is late", "name": "late"})))
    await asyncio.gather(*calls)
    assert await outputs(layer, thread_id) == {one["id"]: "second", other["id"]: "other"}


async def test_a_read_waits_for_a_lone_write_in_flight(layer: ChainlitLayer) -> None:
    thread_id = await ready_thread(layer)
    written = step(thread_id)
    call = asyncio.create_task(layer.create_step(written))
    await asyncio.sleep(0)
    assert written["id"] in await outputs(layer, thread_id)
    await call


async def test_a_lone_write_is_stored_although_its_caller_was_cancelled(layer: ChainlitLayer) -> None:
    thread_id = await ready_thread(layer)
    written = step(thread_id)
    call = asyncio.create_task(layer.create_step(written))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await layer.create_step(step(thread_id))
    assert written["id"] in await outputs(layer, thread_id)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(CALLS)
async def test_any_calls_leave_the_newest_state_of_each_step(
    layer: ChainlitLayer, calls: list[tuple[int, str, str]]
) -> None:
    thread_id = await ready_thread(layer)
    made = [step(thread_id), step(thread_id)]
    expected: dict[str, str] = {}
    updated: set[str] = set()
    tasks: list[asyncio.Task[None]] = []
    for number, (which, what, end) in enumerate(calls):
        state = {**made[which], "output": f"{what} {number}"}
        is_creation = what == "create"
        tasks.append(asyncio.create_task((layer.create_step if is_creation else layer.update_step)(state)))
        await asyncio.sleep(0)
        if not is_creation:
            updated.add(state["id"])
        if not is_creation or state["id"] not in updated:
            expected[state["id"]] = state["output"]
        if end == "cancel":
            tasks[-1].cancel()
        elif end == "wait":
            await tasks[-1]
    stored = await outputs(layer, thread_id)
    assert {id_: stored.get(id_) for id_ in expected} == expected
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_refused_lone_write_is_told_to_its_own_caller(layer: ChainlitLayer, database_url: str) -> None:
    thread_id = await thread(layer, await user_id(layer, "alice"))
    with datalayer.acting_as("alice"):
        written = step(thread_id, "hers")
        await layer.create_step(written)
    with datalayer.acting_as("bob"):
        for write in (layer.create_step(step(thread_id)), layer.update_step({**written, "output": "his"})):
            with pytest.raises(datalayer.Forbidden):
                await write
    other = create_data_layer(database_url)
    await other.delete_thread(thread_id)
    await other.close()
    with datalayer.acting_as("alice"):
        # A write to a deleted thread is dropped.
        await layer.update_step({**written, "output": "too late"})
        assert await layer.get_thread(thread_id) is None
    # The queue goes on.
    await layer.create_step(step(new_id()))
    assert layer.queued_writes == 0


async def test_a_step_with_a_key_without_a_column_keeps_it_through_lone_writes(layer: ChainlitLayer) -> None:
    thread_id = await ready_thread(layer)
    odd, plain = step(thread_id, "first", invented="kept", language=7), step(thread_id, "first", tags=["a", "b"])
    for one in (odd, plain):
        await layer.create_step(one)
        await layer.update_step({"id": one["id"], "threadId": thread_id, "output": "second"})
        await layer.create_step({**one, "output": "late", "command": "only here"})
    stored = {one["id"]: one for one in (await layer.get_thread(thread_id))["steps"]}
    assert (stored[odd["id"]]["invented"], stored[odd["id"]]["language"]) == ("kept", 7)
    assert stored[plain["id"]]["tags"] == ["a", "b"]
    assert {(one["output"], one["command"]) for one in stored.values() if one["id"] in (odd["id"], plain["id"])} == {
        ("second", "only here")
    }


@pytest.mark.parametrize("failure", ["lost answer", "lost connection"])
async def test_a_lone_write_is_retried_before_those_behind_it(database_url: str, engine: str, failure: str) -> None:
    if engine == "sqlite":
        pytest.skip("SQLite has no network")
    port, through = urlsplit(database_url).port, _through(database_url)
    assert port
    async with FaultyNetwork(port) as network:
        layer = create_data_layer(through(network.port))
        thread_id = await ready_thread(layer)
        one = step(thread_id, "the lone write")
        if failure == "lost answer":
            network.lose_the_answer_to(b"the lone write")
        else:
            network.cut_after(100)
        calls = [asyncio.create_task(layer.create_step(one))]
        await asyncio.sleep(0)
        calls.append(asyncio.create_task(layer.update_step({**one, "output": "the write behind it"})))
        await asyncio.sleep(0.2)
        assert network.cuts
        if failure == "lost connection":
            await network.go_down()
            await network.come_up()
        await asyncio.gather(*calls)
        assert await outputs(layer, thread_id) == {one["id"]: "the write behind it"}
        await layer.close()


async def test_a_lone_write_whose_patience_ends_fails(database_url: str, engine: str) -> None:
    if engine == "sqlite":
        pytest.skip("SQLite has no network")
    port, through = urlsplit(database_url).port, _through(database_url)
    assert port
    async with FaultyNetwork(port) as network:
        layer = create_data_layer(through(network.port), patience_seconds=2)
        thread_id = await ready_thread(layer)
        await network.go_down()
        with pytest.raises(datalayer.StorageUnavailable):
            await layer.create_step(step(thread_id))
        await network.come_up()
        await layer.create_step(step(thread_id, "after the outage"))
        assert list((await outputs(layer, thread_id)).values()) == ["after the outage"]
        await layer.close()


async def test_a_lone_write_that_is_in_flight_at_close_is_spooled(
    database_url: str, engine: str, tmp_path: Path
) -> None:
    if engine == "sqlite":
        pytest.skip("SQLite has no network")
    port, through, spool = urlsplit(database_url).port, _through(database_url), tmp_path / "spool.jsonl"
    assert port
    async with FaultyNetwork(port) as network:
        layer = create_data_layer(through(network.port), spool=spool)
        thread_id = await ready_thread(layer)
        one = step(thread_id, "in flight")
        network.fall_silent()
        call = asyncio.create_task(layer.create_step(one))
        await asyncio.sleep(0)
        await layer.close(0.2)
        with pytest.raises(datalayer.StorageUnavailable, match="spool file"):
            await call
    again = create_data_layer(database_url, spool=spool)
    await again.migrate()
    assert await outputs(again, thread_id) == {one["id"]: "in flight"}
    await again.close()


async def test_close_waits_for_a_lone_write_and_those_behind_it(database_url: str) -> None:
    layer = create_data_layer(database_url)
    thread_id = await ready_thread(layer)
    made = [step(thread_id, str(number)) for number in range(5)]
    calls: list[asyncio.Task[Any]] = [asyncio.create_task(layer.create_step(one)) for one in made]
    await asyncio.sleep(0)
    await layer.close(30)
    await asyncio.gather(*calls)
    again = create_data_layer(database_url)
    assert {one["id"] for one in made} <= (await outputs(again, thread_id)).keys()
    await again.close()


async def ready_thread(layer: ChainlitLayer) -> str:
    """A thread that the layer knows, with the connection that writes open, so that the next write can leave alone."""
    thread_id, first = new_id(), new_id()
    await layer.create_step({**step(thread_id), "id": first})
    await layer.delete_step(first)
    await layer.create_step({**step(thread_id), "id": first})
    await layer.delete_step(first)
    return thread_id


async def outputs(layer: ChainlitLayer, thread_id: str) -> dict[str, str]:
    return {one["id"]: one["output"] for one in (await layer.get_thread(thread_id))["steps"]}


def workers() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "datalayer-writer"]


def _through(url: str) -> Any:
    parts = urlsplit(url)
    name = parts.netloc.rsplit("@", 1)[0]
    return lambda port: urlunsplit(parts._replace(netloc=f"{name}@127.0.0.1:{port}"))
