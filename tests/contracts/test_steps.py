"""Steps are read back as they were written, in any order of Chainlit's tasks."""

import asyncio
from pathlib import Path
from typing import Any, cast, get_type_hints

import pytest
from chainlit.step import StepDict
from sqlalchemy import update

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.schema.chat import steps
from tests.support.counted import counted
from tests.support.records import new_id, step, thread, user_id, vote


def every_key(thread_id: str) -> dict[str, Any]:
    return {
        "id": new_id(),
        "threadId": thread_id,
        "parentId": new_id(),
        "name": "工具",
        "type": "tool",
        "command": "search",
        "modes": {"model": "gpt-4o-mini", "effort": "high"},
        "streaming": True,
        "waitForAnswer": True,
        "isError": True,
        "metadata": {"icon": "globe", "nested": {"a": [1, 2.5, None, {"b": "🧵"}]}},
        "tags": ["one", "zwei", "三"],
        "input": "what went in",
        "output": "what came out 🧵",
        "createdAt": "2026-02-03T04:05:06.000700Z",
        "start": "2026-02-03T04:05:06.000800Z",
        "end": "2026-02-03T04:05:07.000000Z",
        "generation": {"model": "gpt", "tokenCount": 12, "messages": [{"role": "user"}]},
        "showInput": "json",
        "defaultOpen": True,
        "autoCollapse": True,
        "language": "python",
        "icon": "wrench",
    }


async def read_back(layer: ChainlitLayer, written: dict[str, Any]) -> dict[str, Any]:
    found = await layer.get_thread(written["threadId"])
    assert found is not None
    (kept,) = [one for one in found["steps"] if one["id"] == written["id"]]
    return dict(kept)


async def test_every_key_of_a_step_is_read_back(layer: ChainlitLayer) -> None:
    written = every_key(await thread(layer, None))
    assert set(written) == set(get_type_hints(StepDict)) - {"feedback"}, "Chainlit has other keys than this test"
    await layer.create_step(written)
    kept = await read_back(layer, written)
    assert {key: kept[key] for key in written} == written
    assert kept["feedback"] is None


async def test_an_unknown_key_is_read_back(layer: ChainlitLayer) -> None:
    written = step(await thread(layer, None), mood={"of": ["the", "day"]}, extra="not ours", updatedAt=7)
    await layer.create_step(written)
    await layer.update_step({**written, "weather": "rain"})
    kept = await read_back(layer, written)
    assert kept["mood"] == {"of": ["the", "day"]}
    assert kept["weather"] == "rain"
    assert kept["extra"] == "not ours"
    assert kept["updatedAt"] == 7


async def test_a_value_of_the_wrong_type_is_read_back(layer: ChainlitLayer) -> None:
    odd = {"tags": "not a list", "metadata": ["not", "an", "object"], "parentId": "no uuid", "isError": "yes"}
    written = step(await thread(layer, None), **odd)
    await layer.create_step(written)
    kept = await read_back(layer, written)
    assert {key: kept[key] for key in odd} == odd


@pytest.mark.parametrize("shown", [True, False, "json", "true", "false", None])
async def test_show_input_keeps_its_type(layer: ChainlitLayer, shown: bool | str | None) -> None:
    written = step(await thread(layer, None), showInput=shown)
    await layer.create_step(written)
    assert (await read_back(layer, written))["showInput"] == shown


async def test_only_values_that_no_database_can_store_are_replaced(layer: ChainlitLayer) -> None:
    written = step(
        await thread(layer, None),
        output="before\x00after \ud83e\uddf5 lone \ud800 end 🧵",
        metadata={"key\x00": "\udfff", "number": float("nan"), "size": float("inf"), "when": {1}},
    )
    await layer.create_step(written)
    kept = await read_back(layer, written)
    assert kept["output"] == "before\ufffdafter 🧵 lone \ufffd end 🧵"
    assert kept["metadata"] == {"key\ufffd": "\ufffd", "number": None, "size": None, "when": [1]}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-02-03T04:05:06Z", "2026-02-03T04:05:06.000000Z"),
        ("2026-02-03T06:05:06.5+02:00", "2026-02-03T04:05:06.500000Z"),
        ("2026-02-03T04:05:06.123456", "2026-02-03T04:05:06.123456Z"),
    ],
)
async def test_times_are_stored_in_utc_in_one_format(layer: ChainlitLayer, given: str, kept: str) -> None:
    written = step(await thread(layer, None), createdAt=given)
    await layer.create_step(written)
    assert (await read_back(layer, written))["createdAt"] == kept


async def test_a_step_without_a_time_gets_one(layer: ChainlitLayer) -> None:
    written = step(await thread(layer, None), createdAt=None)
    await layer.create_step(written)
    assert (await read_back(layer, written))["createdAt"].endswith("Z")


async def test_steps_are_read_in_the_order_of_creation(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None)
    moments = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000100Z", "2026-01-01T00:00:00.000200Z"]
    written = [step(thread_id, str(number), createdAt=moment) for number, moment in enumerate(moments)]
    for one in reversed(written):
        await layer.create_step(one)
    found = await layer.get_thread(thread_id)
    assert [one["output"] for one in found["steps"]] == ["0", "1", "2"]


async def test_writes_are_applied_in_the_order_of_the_calls(layer: ChainlitLayer) -> None:
    written = step(await thread(layer, None), "first")
    calls = [layer.create_step(written)]
    calls += [layer.update_step({**written, "output": f"state {number}"}) for number in range(50)]
    await asyncio.gather(*(asyncio.create_task(call) for call in calls))
    assert (await read_back(layer, written))["output"] == "state 49"


async def test_a_late_create_does_not_overwrite_an_update(layer: ChainlitLayer) -> None:
    written = step(await thread(layer, None), "draft", language="python", createdAt="2026-01-01T00:00:00Z")
    later = {"output": "final", "isError": True, "metadata": {"a": 2, "favorite": True}, "tags": ["y"]}
    await layer.update_step({"id": written["id"], "threadId": written["threadId"], **later})
    await layer.create_step({**written, "isError": False, "metadata": {"a": 1}, "tags": ["x"]})
    kept = await read_back(layer, written)
    assert {name: kept[name] for name in later} == later
    assert kept["language"] == "python", "missing values are filled in"
    assert kept["createdAt"] == "2026-01-01T00:00:00.000000Z"


async def test_the_first_of_two_late_creates_fills_missing_values(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None)
    written = step(thread_id, "final")
    await layer.update_step(written)
    late = [{**written, "output": "draft", "language": language} for language in ("python", "rust")]
    await asyncio.gather(*(asyncio.create_task(layer.create_step(one)) for one in late))
    kept = await read_back(layer, written)
    assert (kept["output"], kept["language"]) == ("final", "python")


@pytest.mark.parametrize("others", [0, 3])
async def test_a_write_has_the_same_result_alone_and_in_a_batch(layer: ChainlitLayer, others: int) -> None:
    """Postgres uses different statements for them, and for a create and a later state."""
    company, thread_id = await thread(layer, None), await thread(layer, None)
    first, second = step(thread_id, createdAt="2026-01-01T00:00:00Z", streaming=True), step(thread_id)
    of_first, of_second = ({"id": one["id"], "threadId": thread_id} for one in (first, second))

    async def write(call: Any) -> Any:
        calls = [call, *(layer.create_step(step(company)) for _ in range(others))]
        return (await asyncio.gather(*calls, return_exceptions=True))[0]

    # A create, then a later state with few values, then one with values for the columns that have defaults.
    assert await write(layer.create_step(first)) is None
    assert await write(layer.update_step({**of_first, "metadata": {"a": 1}, "tags": ["x", "y"], "mood": 1})) is None
    assert await write(layer.update_step({**of_first, "tags": [], "icon": "globe"})) is None
    kept = await read_back(layer, first)
    expected = {**first, "createdAt": "2026-01-01T00:00:00.000000Z", "metadata": {"a": 1}, "tags": [], "mood": 1}
    assert {key: kept[key] for key in (*expected, "icon")} == {**expected, "icon": "globe"}
    assert await write(layer.update_step({**of_first, "name": "", "type": "tool", "streaming": False})) is None
    kept = await read_back(layer, first)
    assert (kept["name"], kept["type"], kept["streaming"], kept["output"]) == ("", "tool", False, "hello")
    # A late create fills in missing values and defaults.
    assert await write(layer.update_step({**of_second, "output": "final"})) is None
    assert await write(layer.create_step({**second, "output": "draft", "createdAt": "2026-01-02T00:00:00Z"})) is None
    kept = await read_back(layer, second)
    assert (kept["name"], kept["type"], kept["output"]) == ("alice", "user_message", "final")
    assert kept["createdAt"] == "2026-01-02T00:00:00.000000Z"
    # A later state creates no thread: it is refused without effect on others.
    assert isinstance(await write(layer.update_step(step(new_id()))), datalayer.NotFound)
    assert await write(layer.create_step(step(new_id()))) is None


@pytest.mark.parametrize("others", [0, 3])
async def test_a_step_stays_in_its_thread(layer: ChainlitLayer, others: int) -> None:
    company, other = await thread(layer, None), await thread(layer, None)
    written = step(await thread(layer, None))
    await layer.create_step(written)
    calls = [
        layer.create_step({**written, "threadId": other}),
        *(layer.create_step(step(company)) for _ in range(others)),
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results[0], datalayer.Forbidden)
    assert results[1:] == [None] * others
    assert (await layer.get_thread(other))["steps"] == []


async def test_two_processes_create_one_thread_concurrently(layer: ChainlitLayer, database_url: str) -> None:
    other = datalayer.create_data_layer(database_url)
    await user_id(layer, "alice")
    for _ in range(20):
        thread_id = new_id()
        with datalayer.acting_as("alice"):
            newer, older = (step(thread_id, createdAt=f"2026-01-0{day}T00:00:00Z") for day in (2, 1))
            await asyncio.gather(layer.create_step(newer), other.create_step(older))
            assert len((await layer.get_thread(thread_id))["steps"]) == 2
    await other.close()


async def test_an_update_changes_only_the_given_fields(layer: ChainlitLayer) -> None:
    written = every_key(await thread(layer, None))
    await layer.create_step(written)
    await layer.update_step({"id": written["id"], "threadId": written["threadId"], "output": "", "tags": None})
    kept = await read_back(layer, written)
    assert {key: kept[key] for key in written} == {**written, "output": ""}


async def test_a_step_creates_its_thread(layer: ChainlitLayer) -> None:
    written = step(new_id())
    await layer.create_step(written)
    assert (await read_back(layer, written))["output"] == "hello"


async def test_a_step_and_its_thread_may_be_written_in_either_order(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    written = step(new_id())
    with datalayer.acting_as("alice"):
        await layer.create_step(written)
        await layer.update_thread(written["threadId"], name="named later", user_id=owner)
        found = await layer.get_thread(written["threadId"])
    assert (found["name"], found["userIdentifier"], len(found["steps"])) == ("named later", "alice", 1)


async def test_deleting_a_step_deletes_its_votes_and_elements(layer: ChainlitLayer) -> None:
    written = step(await thread(layer, None))
    await layer.create_step(written)
    await layer.upsert_feedback(vote(written["id"], 1))
    await layer.delete_step(written["id"])
    await layer.create_step(written)
    assert (await read_back(layer, written))["feedback"] is None


async def test_cutting_a_thread_keeps_earlier_steps_and_the_named_ones(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None)
    written = [step(thread_id, str(number), createdAt=f"2026-01-01T00:00:0{number}Z") for number in range(6)]
    for one in written:
        await layer.create_step(one)
    assert await layer.cut_thread(thread_id, written[2]["id"], keep=[written[4]["id"]]) == 2
    found = await layer.get_thread(thread_id)
    assert [one["output"] for one in found["steps"]] == ["0", "1", "2", "4"]


@pytest.mark.parametrize("broken", [{"id": "no uuid"}, {"threadId": "no uuid"}, {"id": None}, {"threadId": None}])
async def test_a_step_without_a_valid_id_is_refused_alone(layer: ChainlitLayer, broken: dict[str, Any]) -> None:
    thread_id = await thread(layer, None)
    good = step(thread_id)
    results = await asyncio.gather(
        layer.create_step(good), layer.create_step({**step(thread_id), **broken}), return_exceptions=True
    )
    assert results[0] is None
    assert isinstance(results[1], datalayer.InvalidRecord)
    assert len((await layer.get_thread(thread_id))["steps"]) == 1


async def test_a_refused_write_does_not_affect_its_batch(layer: ChainlitLayer) -> None:
    thread_id = await thread(layer, None)
    writes = [step(thread_id, str(number)) for number in range(20)]
    calls: list[Any] = [layer.create_step(one) for one in writes]
    calls.insert(10, layer.update_thread(new_id(), user_id=new_id()))  # the user does not exist
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results.pop(10), datalayer.InvalidRecord)
    assert results == [None] * 20
    assert len((await layer.get_thread(thread_id))["steps"]) == 20


async def test_favourites_are_listed_and_marking_changes_nothing_else(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    written = every_key(await thread(layer, owner))
    await layer.create_step(written)
    await layer.create_step(step(written["threadId"], metadata={"favorite": "no"}))
    await layer.set_step_favorite({"id": written["id"], "threadId": written["threadId"]}, True)
    (found,) = cast(list[dict[str, Any]], await layer.get_favorite_steps(owner))
    assert {key: found[key] for key in written} == {**written, "metadata": {**written["metadata"], "favorite": True}}
    await layer.set_step_favorite({"id": written["id"]}, False)
    assert await layer.get_favorite_steps(owner) == []


async def test_the_pages_of_a_thread_are_read_in_order_and_alone(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with counted(database_url, tmp_path / "files", monkeypatch) as counter:
        layer = counter.layer
        alice = await user_id(layer, "alice")
        with datalayer.acting_as("alice"):
            thread_id, empty = await thread(layer, alice), await thread(layer, alice)
            # Some times are equal; steps of other kinds stand between.
            messages = [
                step(thread_id, f"{n}", type=kind, createdAt=f"2026-01-01T00:00:0{n // 3}.000000Z")
                for n, kind in enumerate(["user_message", "assistant_message", "tool", "run"] * 3)
            ]
            messages[1]["parentId"] = messages[3]["id"]
            for one in messages:
                await layer.create_step(one)
            await layer.upsert_feedback(vote(messages[3]["id"], 0, "on the run"))
            await layer.upsert_feedback(vote(messages[5]["id"], 1))
            async with layer.database.write() as connection:
                # As another program may store them.
                timeless = [messages[8]["id"], messages[9]["id"]]
                await connection.execute(update(steps).where(steps.c.id.in_(timeless)).values(createdAt=None))
            whole = await layer.get_thread(thread_id)
            expected = [one["id"] for one in whole["steps"] if one["type"].endswith("_message")]
            for limit in (1, 2, 3, 50):
                cursor, read = None, list[StepDict]()
                while not read or cursor is not None:
                    counter.reset()
                    found = await layer.messages_in_order(thread_id, cursor=cursor, limit=limit)
                    assert counter.statements == 1
                    assert found is not None
                    read, cursor = read + found[0], found[1]
                assert [one["id"] for one in read] == expected
                votes = {one["id"]: one["feedback"] for one in read if one["feedback"] is not None}
                assert {of: vote["comment"] for of, vote in votes.items()} == {
                    messages[1]["id"]: "on the run",
                    messages[5]["id"]: None,
                }
            assert await layer.messages_in_order(empty) == ([], None)
            for other in (new_id(), "no-id"):
                assert await layer.messages_in_order(other) is None
