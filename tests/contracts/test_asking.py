"""Passages for questions of the chat: when something is opened or asked, and what the chat learns of failures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from datalayer import Assistant, AssistantSettings, Limit
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.knowledge import open_with_shared_worker, train_files
from tests.support.model_server import API_KEY, ModelServer
from tests.support.records import new_id
from threadkeeper.chat.model import Model, ModelError, Purpose
from threadkeeper.chat.providers import create_model
from threadkeeper.chat.providers.demo import DemoModel
from threadkeeper.chat.trying import Trial
from threadkeeper.knowledge.asking import KnowledgeRetriever
from threadkeeper.knowledge.followups import standalone, with_words_of
from threadkeeper.knowledge.missing import NoKnowledge
from threadkeeper.knowledge.on_demand import KnowledgeOnDemand
from threadkeeper.knowledge.service import KnowledgeService
from threadkeeper.offered_models import OfferedModels
from threadkeeper.settings.settings import Settings

NOBODY = Purpose("embedding")
EARLIER: list[dict[str, Any]] = [
    {"id": "1", "type": "user_message", "output": "When does the harbour open?"},
    {"id": "2", "type": "assistant_message", "output": "At six [1]."},
]


def assistant(slug: str = "librarian", **fields: Any) -> Assistant:
    return Assistant("id", slug, 3, 3, AssistantSettings("Librarian", **fields))


class Rig:
    """A retriever whose knowledge is opened at most once, with the scripted server as both models."""

    def __init__(self, layer: ChainlitLayer, server: ModelServer) -> None:
        self.layer, self.server, self.opened = layer, server, list[KnowledgeService]()
        given: dict[str, Any] = {"openai_base_url": server.base_url, "openai_api_key": API_KEY, "openai_max_retries": 0}
        self.settings = Settings(knowledge_embedding_model="words", openai_timeout_seconds=60, **given)
        self.on_demand = KnowledgeOnDemand(self.open)
        self.model: Model = create_model(api_key=API_KEY, base_url=server.base_url, timeout_seconds=60, max_retries=0)

    def open(self) -> KnowledgeService:
        self.opened.append(open_with_shared_worker(self.settings, self.layer))
        return self.opened[-1]

    def retriever(self, rewrite_model: str = "say:When does the harbour open in winter?") -> KnowledgeRetriever:
        return KnowledgeRetriever(self.on_demand, self.layer, self.model, rewrite_model=rewrite_model)

    async def train(self, slug: str = "librarian") -> None:
        files = {"harbour.txt": "The harbour opens at six in the morning.", "cats.txt": "Cats sleep all day."}
        assert (await train_files(self.layer, slug, files, self.server)).state == "success"
        self.server.forget()

    @property
    def asked(self) -> list[str]:
        return [one.model for one in self.server.requests]


@pytest.fixture
async def rig(layer: ChainlitLayer, model_server: ModelServer) -> AsyncIterator[Rig]:
    made = Rig(layer, model_server)
    yield made
    await made.on_demand.close()
    await made.model.close()


async def test_an_assistant_without_a_training_opens_nothing_and_asks_nothing(rig: Rig) -> None:
    for one in (assistant(), assistant(slug="")):
        found = await rig.retriever().find(one, "When?", EARLIER, NOBODY)
        assert (list(found.passages), found.training_id, found.searched) == ([], None, "When?")
    assert (rig.opened, rig.asked) == ([], [])


async def test_passages_are_above_the_threshold_of_the_training_or_of_the_assistant(rig: Rig) -> None:
    await rig.train()
    found = await rig.retriever().find(assistant(), "the harbour opens at six in the morning", (), NOBODY)
    assert [one.document_title for one in found.passages] == ["harbour.txt"]
    assert [one.document_title for one in found.below] == ["cats.txt"]
    assert found.training_id
    everything = await rig.retriever().find(assistant(score_threshold=0.0), "harbour", (), NOBODY)
    assert len(everything.passages) == 2
    nothing = await rig.retriever().find(assistant(score_threshold=1.0), "harbour", (), NOBODY)
    assert (list(nothing.passages), len(nothing.below)) == ([], 2)
    assert len(rig.opened) == 1


async def test_only_a_question_with_one_before_it_is_rewritten(rig: Rig) -> None:
    await rig.train()
    await rig.retriever().find(assistant(), "When does the harbour open?", EARLIER[1:], NOBODY)
    assert rig.asked == ["words"]
    found = await rig.retriever().find(assistant(), "And in winter?", EARLIER, Purpose("embedding", thread_id="t"))
    assert found.searched == "When does the harbour open in winter?"
    assert rig.asked == ["words", "say:When does the harbour open in winter?", "words"]


@pytest.mark.parametrize("model", ["500", "length", "say: ", "401"], ids=["fails", "is-cut", "is-silent", "refuses"])
async def test_a_failure_to_rewrite_adds_the_words_of_the_last_question(
    rig: Rig, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.train()
    found = await rig.retriever(model).find(assistant(), "And in winter?", EARLIER, NOBODY)
    assert found.searched == "When does the harbour open? And in winter?"
    assert "a follow-up question is looked up with the words of the last" in caplog.text


async def test_the_demo_rewrites_by_a_rule(rig: Rig) -> None:
    demo = create_model()
    assert (
        await standalone("And in winter?", EARLIER, demo, "demo", NOBODY)
        == "When does the harbour open? And in winter?"
    )
    assert await standalone("And in winter?", (), demo, "demo", NOBODY) == "And in winter?"


@pytest.mark.parametrize(
    ("question", "is_short"),
    [
        ("And in winter?", True),
        ("那冬天呢？", True),
        ("Who may borrow a boat for a day on Sunday?", False),
        ("图书馆在国庆节期间几点开门几点关门呢？", False),
    ],
)
def test_only_a_short_question_gets_the_words_of_the_last(question: str, is_short: bool) -> None:
    assert with_words_of("Before", question) == (f"Before {question}" if is_short else question)


async def test_notices_errors_and_refused_questions_are_not_the_thread(rig: Rig) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "1", "type": "user_message", "output": "A refused one", "metadata": {"failed": "filtered"}},
        {"id": "2", "type": "assistant_message", "output": "No.", "isError": True},
        {"id": "3", "type": "assistant_message", "output": "A notice", "metadata": {"status": "notice"}},
    ]
    assert await standalone("And in winter?", steps, rig.model, "say:Never", NOBODY) == "And in winter?"
    assert rig.asked == []


async def test_an_embedding_server_that_is_away_is_a_failure_that_may_pass(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.train()
    await rig.on_demand.service()
    root, rig.server.port = rig.server.base_url, rig.server.port
    await rig.server.__aexit__(None, None, None)
    try:
        with pytest.raises(ModelError) as raised:
            await rig.retriever().find(assistant(), "When?", (), Purpose("embedding", thread_id="thread-7"))
        assert raised.value.kind == "knowledge_away"
        assert [record.thread_id for record in caplog.records if hasattr(record, "thread_id")] == ["thread-7"]
    finally:
        await rig.server.__aenter__()
    assert rig.server.base_url == root
    assert (await rig.retriever().find(assistant(), "harbour", (), NOBODY)).training_id


async def test_a_limit_that_is_reached_is_told_as_for_a_question(rig: Rig) -> None:
    await rig.train()
    user = await rig.layer.add_account("alice", "hash")
    await rig.layer.put_limit(Limit(new_id(), "user", user.id, "day", "tokens", Decimal(1)))
    with pytest.raises(ModelError) as raised:
        await rig.retriever().find(assistant(), "the harbour opens at six", (), Purpose("embedding", user_id=user.id))
    assert (raised.value.kind, "standing" in raised.value.values) == ("over_limit", True)


async def test_a_server_without_an_embedding_model_says_so(rig: Rig) -> None:
    await rig.train()
    retriever = KnowledgeRetriever(KnowledgeOnDemand(_refuse), rig.layer, rig.model, rewrite_model="echo")
    with pytest.raises(ModelError) as raised:
        await retriever.find(assistant(), "When?", (), NOBODY)
    assert raised.value.kind == "knowledge_missing"


async def test_passages_that_are_trained_no_more_are_missing_when_they_are_read_again(rig: Rig) -> None:
    await rig.train()
    retriever = rig.retriever()
    found = await retriever.find(assistant(score_threshold=0.0), "harbour", (), NOBODY)
    ids = [one.id for one in found.passages]
    again = await retriever.again(assistant(), [*reversed(ids), 10**9])
    assert ([one.id for one in again.passages], again.training_id) == (ids[::-1], found.training_id)
    harbour = next(one for one in await rig.layer.list_sources("librarian") if one.title == "harbour.txt")
    await rig.layer.put_source(harbour, b"The harbour opens at seven in the morning.")
    assert (await train_files(rig.layer, "librarian", {}, rig.server)).state == "success"
    again = await retriever.again(assistant(), ids)
    assert [one.document_title for one in again.passages] == ["cats.txt"], "the other text is superseded"
    await rig.train("gardener")
    assert (await retriever.again(assistant("gardener"), ids)).passages == [], "of another assistant"


async def test_a_trial_shows_what_was_found_and_the_demo_quotes_it(rig: Rig) -> None:
    await rig.train()
    trial = Trial(DemoModel(), offered=OfferedModels(("demo",)), default_prompt="Be brief.", retriever=rig.retriever())
    user = (await rig.layer.add_account("alice", "hash")).id
    question = "the harbour opens at six in the morning"
    tried = await trial(assistant(), question, user_id=user, language="zh-CN")
    assert [one.document_title for one in tried.passages] == ["harbour.txt"]
    assert [one.document_title for one in tried.below] == ["cats.txt"]
    assert tried.answer.startswith("这是**演示**")
    assert tried.answer.endswith("> The harbour opens at six in the morning. [1]")
    strict = assistant(type="qa", idk="No idea.", score_threshold=1.0)
    unknown = await trial(strict, "harbour", user_id=user, language="en-US")
    assert (unknown.answer, unknown.is_unknown, len(unknown.below)) == ("No idea.", True, 2)
    other = KnowledgeRetriever(KnowledgeOnDemand(_refuse), rig.layer, rig.model, rewrite_model="echo")
    failing = Trial(DemoModel(), offered=OfferedModels(("demo",)), default_prompt="", retriever=other)
    failed = await failing(strict, question, user_id=user, language="en-US")
    assert "cannot search the documents" in str(failed.error)


def _refuse() -> KnowledgeService:
    raise NoKnowledge("Install it.")
