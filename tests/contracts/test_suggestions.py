"""Questions that the documents of a training answer: their own first, then the model's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest

from datalayer import Training
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.assistants import AssistantSettings
from datalayer.records.usage import CallFilter, Limit
from tests.support.knowledge import document, source, trained
from tests.support.model_server import API_KEY, ModelServer
from tests.support.records import new_id, user_id
from tests.support.training_rig import Rig
from threadkeeper.chat.metering.metered_model import MeteredModel
from threadkeeper.chat.providers import create_model
from threadkeeper.conversation.assistants import chat_profiles, opening_prompts
from threadkeeper.jobs.registration import training_with
from threadkeeper.knowledge.on_demand import KnowledgeOnDemand
from threadkeeper.knowledge.suggestions import KIND, Suggester

ANSWER = "say:Here are some:\n1. When does the harbour open?\n- Who is met by a pilot?\n\n图书馆何时开门？\nNone."


@pytest.fixture
async def rig(layer: ChainlitLayer, model_server: ModelServer) -> AsyncIterator[Rig]:
    made = Rig(layer, model_server)
    yield made
    await made.close()


async def never() -> bool:
    return False


async def nothing(_training: Training) -> None: ...


async def train(rig: Rig, name: str, started_by: str | None = None, *, demo: bool = False) -> Training:
    """Train with the suggestions of this model, as a job does."""

    class Opened:
        trainer = rig.trainer

        async def prepare(self) -> None: ...

    model = create_model() if demo else create_model(api_key=API_KEY, base_url=rig.server.base_url, max_retries=0)
    asked = model if demo else MeteredModel(model, rig.layer, keep_payloads=False)
    run = training_with(KnowledgeOnDemand(Opened), Suggester(rig.layer, asked, name))  # type: ignore[arg-type]
    started = await rig.layer.start_training("librarian", started_by)
    try:
        await run(started.id, progress=nothing, cancelled=never)
    finally:
        await model.close()
    ended = await rig.layer.get_training(started.id)
    assert ended is not None
    return ended


def questions_to(rig: Rig) -> list[str]:
    """What the model was asked to write, without the embedding requests."""
    return [request.body["messages"][0]["content"] for request in rig.server.requests if "messages" in request.body]


async def test_the_model_writes_questions_for_five_documents_of_as_many_sources(rig: Rig) -> None:
    rows = "text\n" + "\n".join(f"row {number} of the sheet" for number in range(30))
    await rig.put("sheet.csv", rows, "datasheet")
    for number in range(3):
        await rig.put(f"note {number}.txt", f"A note {number} about the harbour.")
    ada = await user_id(rig.layer, "ada")
    training = await train(rig, ANSWER, ada)
    assert training.suggestions == ("When does the harbour open?", "Who is met by a pilot?", "图书馆何时开门？")
    asked = [request.body["messages"][1]["content"] for request in rig.server.requests if "messages" in request.body]
    assert len(asked) == 5
    assert sum("A note" in text for text in asked) == 3, "one of each source, before a second of any"
    assert all("Write 4 short questions" in text for text in questions_to(rig))
    rows_of_calls = (await rig.layer.list_calls(CallFilter())).rows
    ours = [row.call for row in rows_of_calls if row.call.kind == KIND]
    assert [(one.assistant, one.user_id) for one in ours] == [("librarian", ada)] * 5


async def test_questions_of_the_documents_themselves_come_first(rig: Rig) -> None:
    pairs = "question,answer\n" + "\n".join(f"Question {number}?,Answer {number}." for number in range(19))
    await rig.put("pairs.csv", pairs, "pairs")
    training = await train(rig, ANSWER)
    assert training.suggestions is not None
    assert len(training.suggestions) == 20
    assert set(training.suggestions[:19]) == {f"Question {number}?" for number in range(19)}
    assert all("Write 1 short questions" in text for text in questions_to(rig))
    await rig.put("more.csv", pairs.replace("Question", "Other"), "pairs")
    rig.server.forget()
    training = await train(rig, ANSWER)
    assert training.suggestions is not None
    assert len(training.suggestions) == 20
    assert {one.partition(" ")[0] for one in training.suggestions} == {"Question", "Other"}
    assert questions_to(rig) == [], "the documents have enough of their own"


async def test_without_a_model_titles_and_headings_are_taken(rig: Rig) -> None:
    await rig.put("harbour.md", "# Opening hours\n\nSix in the morning.\n\n## Who needs a pilot?\n\nLong boats.")
    await rig.put("图书馆.txt", "周一闭馆。")
    await rig.put("pairs.csv", "question,answer\nWho feeds the cats?,The watch.\n", "pairs")
    training = await train(rig, "", demo=True)
    assert training.suggestions is not None
    assert training.suggestions[0] == "Who feeds the cats?"
    assert set(training.suggestions[1:]) == {
        "What do the documents say about “Opening hours”?",
        "Who needs a pilot?",
        "关于“图书馆”，文档里怎么说？",
    }
    assert questions_to(rig) == []


@pytest.mark.parametrize(("name", "calls"), [("401", 1), ("500", 2), ("filtered", 2)])
async def test_a_model_that_fails_costs_the_training_nothing(rig: Rig, name: str, calls: int) -> None:
    for number in range(2):
        await rig.put(f"note {number}.txt", f"A note {number} about the harbour.")
    training = await train(rig, name)
    assert (training.state, training.is_current, training.suggestions) == ("success", True, ())
    assert len(questions_to(rig)) == calls


async def test_a_limit_of_who_started_the_training_holds(layer: ChainlitLayer, model_server: ModelServer) -> None:
    ada, bob = [await user_id(layer, name) for name in ("ada", "bob")]
    await layer.put_limit(Limit(new_id(), "user", ada, "day", "tokens", Decimal(1)))
    model = create_model(api_key=API_KEY, base_url=model_server.base_url, max_retries=0)
    suggester = Suggester(layer, MeteredModel(model, layer, keep_payloads=False), ANSWER)
    for user, requests in ((ada, 0), (bob, 2)):
        handbook = await layer.put_source(source(user), b"x")
        training = await trained(layer, [document(handbook.id, key, [key]) for key in ("a", "b")], user)
        await suggester.suggest(replace(training, started_by=user))
        kept = await layer.get_training(training.id)
        assert kept is not None
        assert (kept.state, bool(kept.suggestions)) == ("success", bool(requests))
        assert len(model_server.requests) == requests
    await model.close()


async def test_a_training_that_has_questions_or_did_not_succeed_gets_none(layer: ChainlitLayer) -> None:
    handbook = await layer.put_source(source(), b"x")
    training = await trained(layer, [document(handbook.id, "a", ["one"])])
    assert training.suggestions is None
    assert await layer.keep_suggestions(training.id, ["One?", "Two\0?"])
    kept = await layer.get_training(training.id)
    assert kept is not None
    assert kept.suggestions == ("One?", "Two\N{REPLACEMENT CHARACTER}?")
    assert await layer.suggestions_of(["librarian", "gardener"]) == {"librarian": kept.suggestions}
    await Suggester(layer, create_model(), "").suggest(kept)
    assert (await layer.get_training(training.id)) == kept
    running = await layer.start_training("librarian")
    assert not await layer.keep_suggestions(running.id, ["Three?"])
    await layer.cancel_training(running.id)
    newer = await trained(layer, [document(handbook.id, "a", ["two"])])
    assert await layer.suggestions_of(["librarian"]) == {}
    await layer.keep_suggestions(newer.id, [])
    assert await layer.suggestions_of(["librarian"]) == {}


async def test_they_are_offered_where_an_assistant_has_no_prompts_of_its_own(layer: ChainlitLayer) -> None:
    own = AssistantSettings("Own", opening_prompts=("My own?",))
    for slug, settings in (("librarian", AssistantSettings("Librarian")), ("own", own)):
        await layer.create_assistant(settings, slug=slug)
        handbook = await layer.put_source(source(slug), b"x")
        training = await trained(layer, [document(handbook.id, "a", ["one"])], slug)
        await layer.keep_suggestions(training.id, [f"Question {number}?" for number in range(9)])
    profiles = {profile.name: profile for profile in await chat_profiles(layer, "en")}
    suggested = [f"Question {number}?" for number in range(4)]
    assert [starter.message for starter in profiles["librarian"].starters or ()] == suggested
    assert [starter.message for starter in profiles["own"].starters or ()] == ["My own?"]
    found = {one.slug: list(await opening_prompts(layer, one)) for one in await layer.list_assistants()}
    assert found == {"librarian": suggested, "own": ["My own?"]}
