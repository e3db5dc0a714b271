"""After any rounds of concurrent calls on a thread, the store equals a dictionary that got the same calls."""

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any, cast, get_type_hints

import pytest
from chainlit.element import Element as ChainlitElement
from chainlit.element import ElementDict
from chainlit.step import StepDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import clean_json, clean_text
from tests.support.records import new_id, step, user_id, vote
from tests.support.values import ELEMENT_KINDS, OBJECTS, STEP_KINDS, as_doubles, as_read, fields
from tests.unit.test_cleaning import ANY_TEXT

STEPS, ELEMENTS = 3, 2
STEP_FIELDS = fields(STEP_KINDS, without=frozenset({"createdAt"}))
ELEMENT_FIELDS = fields(ELEMENT_KINDS, without=frozenset({"forId"}))
NUMBERS = st.integers(0, STEPS - 1)
CALLS = st.one_of(
    st.tuples(st.sampled_from(["create_step", "update_step"]), NUMBERS, STEP_FIELDS),
    st.tuples(st.just("delete_step"), NUMBERS),
    st.tuples(st.just("vote"), NUMBERS, st.sampled_from([0, 1]), st.none() | ANY_TEXT),
    st.tuples(st.just("unvote"), NUMBERS),
    st.tuples(st.just("put_element"), st.integers(0, ELEMENTS - 1), st.none() | NUMBERS, ELEMENT_FIELDS),
    st.tuples(st.just("delete_element"), st.integers(0, ELEMENTS - 1)),
    st.tuples(
        st.just("edit_thread"), st.none() | ANY_TEXT, st.none() | OBJECTS, st.none() | st.lists(ANY_TEXT, max_size=3)
    ),
)
# The calls of a round run concurrently as tasks; the rounds run one by one.
ROUNDS = st.lists(st.lists(CALLS, min_size=1, max_size=6), min_size=1, max_size=5)
THOROUGH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


class Sent:
    """An element with any dictionary, in place of Chainlit's."""

    type = "file"
    content = path = url = None

    def __init__(self, sent: dict[str, Any]) -> None:
        self.to_dict = lambda: sent


@dataclass
class Model:
    """The expected state, in dictionaries."""

    steps: dict[int, dict[str, Any]] = field(default_factory=dict)
    updated: set[int] = field(default_factory=set)
    # Each vote has a number: a vote that was withdrawn and cast again is a new one.
    votes: dict[int, tuple[int, int, str | None]] = field(default_factory=dict)
    elements: dict[int, dict[str, Any]] = field(default_factory=dict)
    name: str = "property"
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: list[str] | None = None
    ballots: Any = field(default_factory=lambda: itertools.count())

    def store_step(self, number: int, sent: dict[str, Any], *, created: bool) -> None:
        new, there = as_read(sent), self.steps.get(number, {})
        if created and number in self.updated:
            # A late create fills missing values; an empty name counts as missing.
            given = {
                key: value for key, value in there.items() if (key, value) not in (("name", ""), ("type", "undefined"))
            }
            self.steps[number] = {**there, **new, **given}
            return
        # The default of `streaming` is False.
        self.steps[number] = {"streaming": False, **there, **new}
        if not created:
            self.updated.add(number)

    def delete_step(self, number: int, step_id: str) -> None:
        if self.steps.pop(number, None) is None:
            return
        self.votes.pop(number, None)
        self.updated.discard(number)
        self.elements = {one: kept for one, kept in self.elements.items() if kept.get("forId") != step_id}

    def cast(self, number: int, value: int, comment: str | None) -> None:
        if number in self.steps:
            ballot = self.votes[number][0] if number in self.votes else next(self.ballots)
            self.votes[number] = (ballot, value, None if comment is None else clean_text(comment))

    def edit(self, name: str | None, metadata: dict[str, Any] | None, tags: list[str] | None) -> None:
        # A name of blanks alone is empty: the list shows the thread as untitled.
        self.name = self.name if name is None else clean_text(name) if name.strip() else ""
        merged = {**self.metadata, **clean_json(metadata or {})}
        self.metadata = {key: as_doubles(value) for key, value in merged.items() if value is not None}
        self.tags = self.tags if tags is None else [clean_text(tag) for tag in tags]


class Trial:
    """A thread, the calls on it, and the model."""

    def __init__(self, layer: ChainlitLayer, owner: str) -> None:
        self.layer, self.owner, self.thread_id, self.model = layer, owner, new_id(), Model()
        self.steps = [new_id() for _ in range(STEPS)]
        self.elements = [new_id() for _ in range(ELEMENTS)]
        self.vote_ids: dict[int, str] = {}

    async def round(self, calls: list[Any]) -> None:
        known, tasks, expected = dict(self.model.votes), [], []
        for what, *arguments in self._without_conflicting_elements(calls):
            call, outcome = self._call(what, arguments, known)
            if call is not None:
                tasks.append(asyncio.create_task(call))
                expected.append((what, outcome))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for (what, outcome), result in zip(expected, results, strict=True):
            if isinstance(result, BaseException) or isinstance(outcome, type):
                assert isinstance(outcome, type) and isinstance(result, outcome), (what, result)
            elif what == "vote":
                self.vote_ids[outcome] = result
            elif what == "unvote":
                assert result is outcome

    def _without_conflicting_elements(self, calls: list[Any]) -> Any:
        """An element's bytes are stored before its row is queued, so at most one call of a round concerns it."""
        seen: set[Any] = set()
        deletes = any(what == "delete_step" for what, *_ in calls)
        for call in calls:
            if call[0] in ("put_element", "delete_element"):
                if deletes or call[1] in seen:
                    continue
                seen.add(call[1])
            yield call

    def _call(self, what: str, arguments: Any, known: dict[int, Any]) -> Any:
        """The call and its expected result; applies the call to the model."""
        layer, model, number = self.layer, self.model, arguments[0]
        if what in ("create_step", "update_step"):
            model.store_step(number, arguments[1], created=what == "create_step")
            sent = {**arguments[1], "id": self.steps[number], "threadId": self.thread_id}
            return getattr(layer, what)(sent), None
        if what == "delete_step":
            model.delete_step(number, self.steps[number])
            return layer.delete_step(self.steps[number]), None
        if what == "vote":
            model.cast(number, *arguments[1:])
            outcome = model.votes[number][0] if number in model.votes else datalayer.NotFound
            return layer.upsert_feedback(vote(self.steps[number], *arguments[1:])), outcome
        if what == "unvote":
            if number not in known:
                return None, None
            ballot = known[number][0]
            there = number in model.votes and model.votes[number][0] == ballot
            if there:
                del model.votes[number]
            return layer.delete_feedback(self.vote_ids[ballot]), there
        if what == "put_element":
            return self._put_element(*arguments), None
        if what == "delete_element":
            model.elements.pop(number, None)
            return layer.delete_element(self.elements[number], self.thread_id), None
        model.edit(*arguments)
        name, metadata, tags = arguments
        return layer.update_thread(self.thread_id, name=name, metadata=metadata, tags=tags), None

    def _put_element(self, number: int, of_step: int | None, sent: dict[str, Any]) -> Any:
        sent = {**sent, "id": self.elements[number], "threadId": self.thread_id}
        if of_step is not None:
            sent["forId"] = self.steps[of_step]
        sent_values = {key: value for key, value in sent.items() if key not in ("id", "threadId")}
        self.model.elements[number] = {**self.model.elements.get(number, {}), **as_read(sent_values)}
        return self.layer.create_element(cast(ChainlitElement, Sent(sent)))

    async def check(self) -> None:
        found, model = await self.layer.get_thread(self.thread_id), self.model
        assert (found["name"], as_doubles(found["metadata"]), found["tags"]) == (model.name, model.metadata, model.tags)
        assert _with_keys_of_model(found["steps"], self.steps, model.steps) == model.steps
        votes = {
            self.steps.index(one["id"]): (one["feedback"]["id"], one["feedback"]["value"], one["feedback"]["comment"])
            for one in found["steps"]
            if one["feedback"]
        }
        assert votes == {number: (self.vote_ids[cast[0]], *cast[1:]) for number, cast in model.votes.items()}
        assert _with_keys_of_model(found["elements"], self.elements, model.elements) == model.elements


def _with_keys_of_model(found: list[Any], ids: list[str], model: dict[int, dict[str, Any]]) -> Any:
    """The found records, with the keys of the model; records that the model lacks keep all keys."""
    kept = {ids.index(one["id"]): one for one in found}
    return {at: {key: as_doubles(one[key]) for key in model.get(at, one)} for at, one in kept.items()}


@THOROUGH
@given(rounds=ROUNDS)
@pytest.mark.slow
async def test_the_store_behaves_like_a_dictionary(layer: ChainlitLayer, rounds: list[Any]) -> None:
    trial = Trial(layer, await user_id(layer, "alice"))
    with datalayer.acting_as("alice"):
        await layer.update_thread(trial.thread_id, name="property", user_id=trial.owner)
        for calls in rounds:
            await trial.round(calls)
            await trial.check()


def test_every_key_of_chainlits_dictionaries_is_generated() -> None:
    assert STEP_KINDS.keys() == get_type_hints(StepDict).keys() - {"id", "threadId", "feedback"}
    assert ELEMENT_KINDS.keys() == get_type_hints(ElementDict).keys() - {"id", "threadId", "path", "objectKey"}


@THOROUGH
@given(sent=fields(STEP_KINDS))
async def test_any_value_of_any_key_of_a_step_is_read_back(layer: ChainlitLayer, sent: dict[str, Any]) -> None:
    written = {**sent, "id": new_id(), "threadId": new_id()}
    await layer.create_step(written)
    (kept,) = (await layer.get_thread(written["threadId"]))["steps"]
    expected = {key: value for key, value in as_read(sent).items() if (key, value) != ("createdAt", "")}
    assert {key: as_doubles(kept[key]) for key in expected} == expected
    assert kept["createdAt"] is not None, "a step always has a time"


@THOROUGH
@given(sent=fields(ELEMENT_KINDS))
async def test_any_value_of_any_key_of_an_element_is_read_back(layer: ChainlitLayer, sent: dict[str, Any]) -> None:
    written = {**sent, "id": new_id(), "threadId": new_id()}
    await layer.create_element(cast(ChainlitElement, Sent(written)))
    (kept,) = (await layer.get_thread(written["threadId"]))["elements"]
    expected = as_read(sent)
    assert {key: as_doubles(kept[key]) for key in expected} == expected


# Values of the column's type, and of another type.
TURNS: list[dict[str, Any]] = [{"output": "text"}, {"output": ["no", "text"]}, {}, {"output": ""}]


@pytest.mark.parametrize("together", [True, False])
async def test_the_last_value_of_a_key_wins_whatever_its_type(layer: ChainlitLayer, together: bool) -> None:
    for turns in itertools.permutations(TURNS, 3):
        written = step(new_id(), **{"output": None, "mood": "unknown to all"})
        await layer.create_step(written)
        calls = [layer.update_step({**written, "output": None, **turn}) for turn in turns]
        if together:
            await asyncio.gather(*calls)
        else:
            for call in calls:
                await call
        (kept,) = (await layer.get_thread(written["threadId"]))["steps"]
        assert kept["output"] == [turn["output"] for turn in turns if turn][-1]
        assert kept["mood"] == "unknown to all"
