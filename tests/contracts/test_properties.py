"""Whatever Chainlit's tasks do to the steps of a thread, in whatever batches: the store is as a dictionary would be."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import clean_json
from tests.records import new_id, page, user_id
from tests.unit.test_cleaning import ANY_JSON, ANY_TEXT

STEPS = 3
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "name": ANY_TEXT.filter(bool),
        "type": st.sampled_from(["tool", "run", "user_message", "assistant_message"]),
        "output": ANY_TEXT,
        "input": ANY_TEXT,
        "language": ANY_TEXT,
        "metadata": st.dictionaries(ANY_TEXT, ANY_JSON, max_size=3),
        "generation": st.dictionaries(ANY_TEXT, ANY_JSON, max_size=3),
        "tags": st.lists(ANY_TEXT, max_size=3),
        "isError": st.booleans(),
        "streaming": st.booleans(),
        "showInput": st.booleans() | st.just("json"),
        "defaultOpen": st.booleans(),
    },
)
CALLS = st.tuples(st.sampled_from(["create", "update", "delete"]), st.integers(0, STEPS - 1), FIELDS)
# Each inner list is called at once, as tasks; the lists one after another.
BATCHES = st.lists(st.lists(CALLS, min_size=1, max_size=6), min_size=1, max_size=4)


class Model:
    """What a dictionary would keep."""

    def __init__(self) -> None:
        self.steps: dict[int, dict[str, Any]] = {}
        self.updated: set[int] = set()

    def apply(self, call: str, number: int, fields: dict[str, Any]) -> None:
        if call == "delete":
            self.steps.pop(number, None)
            self.updated.discard(number)
        elif call == "create" and number in self.updated:
            self.steps[number] = {**fields, **self.steps[number]}
        else:
            # A step of which nothing is said is not one that is being written.
            self.steps[number] = {"streaming": False, **self.steps.get(number, {}), **fields}
            if call == "update":
                self.updated.add(number)


def as_doubles(value: Any) -> Any:
    """Numbers too large for a double to hold exactly, as doubles: JSONB keeps their decimal digits."""
    if isinstance(value, dict):
        return {key: as_doubles(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_doubles(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) <= 2**53:
        return value
    try:
        return float(value)
    except OverflowError:
        return value


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES)
async def test_the_store_is_what_a_dictionary_would_be(layer: ChainlitLayer, batches: list[Any]) -> None:
    thread_id, ids, model = new_id(), [new_id() for _ in range(STEPS)], Model()
    await layer.update_thread(thread_id, name="property")
    for batch in batches:
        calls = []
        for call, number, fields in batch:
            model.apply(call, number, fields)
            step = {"id": ids[number], "threadId": thread_id, **fields}
            calls.append(
                {"create": layer.create_step, "update": layer.update_step}[call](step)
                if call != "delete"
                else layer.delete_step(ids[number])
            )
        await asyncio.gather(*(asyncio.create_task(call) for call in calls))
        kept = {step["id"]: step for step in (await layer.get_thread(thread_id))["steps"]}
        expected = {
            ids[number]: {key: as_doubles(clean_json(value)) for key, value in fields.items()}
            for number, fields in model.steps.items()
        }
        assert {one: {key: as_doubles(kept[one][key]) for key in expected[one]} for one in kept} == expected


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(FIELDS, min_size=1, max_size=30), data=st.data())
async def test_pages_put_together_are_the_whole_list(
    layer: ChainlitLayer, steps: list[Any], data: st.DataObject
) -> None:
    owner = await user_id(layer, "pages " + new_id())
    moments = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000001Z", "2026-01-02T00:00:00Z"]
    made = set()
    for fields in steps:
        thread_id = new_id()
        moment = data.draw(st.sampled_from(moments))
        await layer.create_step({"id": new_id(), "threadId": thread_id, "createdAt": moment, **fields})
        await layer.update_thread(thread_id, user_id=owner)
        made.add(thread_id)
    seen: list[str] = []
    after, more = None, True
    while more:
        found = await page(layer, owner, first=data.draw(st.integers(1, 7)), after=after)
        seen += [one["id"] for one in found.data]
        after, more = found.pageInfo.endCursor, found.pageInfo.hasNextPage
    assert len(seen) == len(made)
    assert set(seen) == made
