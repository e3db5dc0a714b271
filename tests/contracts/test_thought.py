"""The thought of an answer in the store: how often it is written; it is no speech for the search and the exports."""

from typing import Any

import pytest
from chainlit.context import init_http_context
from sqlalchemy import delete

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.history import search_index
from datalayer.records.review import AnswerFilter, Verdict
from datalayer.records.writes import StepWrite
from datalayer.schema.chat import migrations
from datalayer.thought import THOUGHT, THOUGHT_TYPE
from tests.support.records import listed, new_id, step, thread, user_id
from tests.support.reviewing import account, reviewing, talk
from threadkeeper.chat.answer import Outcome, stream_answer
from threadkeeper.chat.model import Model, ModelRequest
from threadkeeper.conversation.reply import Reply


def thought(thread_id: str, text: str, **fields: Any) -> dict[str, Any]:
    return step(thread_id, text, type=THOUGHT_TYPE, name="Thought", metadata={"status": THOUGHT}, **fields)


class Writes:
    """Counts the writes of steps that a layer gets."""

    def __init__(self, layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.types: list[str | None] = []
        write = layer._write

        async def counted(what: str, message: Any) -> Any:
            if isinstance(message, StepWrite):
                self.types.append(message.step.type)
            return await write(what, message)

        monkeypatch.setattr(layer, "_write", counted)


async def answered(layer: ChainlitLayer, model: Model, name: str) -> tuple[list[dict[str, Any]], Outcome]:
    """The stored steps of one answer of this model, and its outcome."""
    thread_id = await thread(layer, await user_id(layer, "alice"))
    init_http_context(thread_id=thread_id)
    reply, outcome = Reply(layer, name, "en"), Outcome()
    await stream_answer(model, ModelRequest([{"role": "user", "content": "hello"}], name), reply, outcome=outcome)
    await reply.finish(outcome)
    found = await layer.get_thread(thread_id)
    return found["steps"], outcome


@pytest.mark.parametrize(
    ("name", "thoughts"), [("echo", 0), ("think:think", 1), ("think:reasoning_content", 1), ("think:closing", 1)]
)
async def test_a_thought_costs_one_write(
    layer: ChainlitLayer, model: Model, monkeypatch: pytest.MonkeyPatch, name: str, thoughts: int
) -> None:
    writes = Writes(layer, monkeypatch)
    steps, _ = await answered(layer, model, name)
    assert [one["type"] for one in steps] == [*[THOUGHT_TYPE] * thoughts, "assistant_message"]
    assert steps[-1]["output"] == "You said: hello"
    assert writes.types.count(THOUGHT_TYPE) == thoughts
    # At the first word, and at the end.
    assert writes.types.count("assistant_message") == 2


@pytest.mark.parametrize("name", ["think-limit:unclosed", "think-only:reasoning"])
async def test_without_an_answer_only_the_thought_is_stored(
    layer: ChainlitLayer, model: Model, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    writes = Writes(layer, monkeypatch)
    steps, outcome = await answered(layer, model, name)
    assert outcome.status == "error"
    assert [(one["type"], one["output"], one["streaming"]) for one in steps] == [
        (THOUGHT_TYPE, "Pondering hello", False)
    ]
    assert writes.types == [THOUGHT_TYPE]


async def test_the_search_does_not_find_a_thought(layer: ChainlitLayer) -> None:
    owner = await user_id(layer, "alice")
    made = await thread(layer, owner)
    begun = thought(made, "The needle")
    await layer.create_step(begun)
    await layer.update_step({**begun, "output": "The needle is in the haystack."})
    await layer.create_step(step(made, "It is in the barn.", type="assistant_message"))
    # A step of a program's own model call has the same type, and is found as before.
    await layer.create_step(step(made, "a spindle", type=THOUGHT_TYPE, name="my model"))
    assert await listed(layer, owner, search="needle") == []
    assert await listed(layer, owner, search="haystack") == []
    assert await listed(layer, owner, search="barn") == [made]
    assert await listed(layer, owner, search="spindle") == [made]


HAYSTACK = "hay " * 200
MIXED = [
    (f"<think>\nThe needle. {HAYSTACK}\n</think>\n\nIt is in the barn.", "It is in the barn."),
    (f" \n<THINK>The needle. {HAYSTACK}</THINK>It is in the barn.", "It is in the barn."),
    (f"The needle. {HAYSTACK}\n</think>\nIt is in the barn.", "It is in the barn."),
    (f"[THINK]The needle.{HAYSTACK}[/THINK]It is in the barn.", "It is in the barn."),
    ("<think>The needle. It is in the barn", ""),
]
SAID = [
    "It is in the barn.\n```xml\n<think>The needle</think>\n```",
    "It is in the barn. Write `<think>the needle</think>`, or <b>the needle</b>.",
    "[1] It is in the barn with the needle.",
]


async def searched(layer: ChainlitLayer, owner: str, words: str) -> str | None:
    """The excerpt of the only thread that is found; None if none is."""
    with datalayer.acting_as("alice"):
        ids = await listed(layer, owner, search=words)
        found = await layer.excerpts(words, ids)
    assert len(ids) <= 1
    return "".join(part.text for part in found[0].text) if found else None


@pytest.mark.parametrize(
    ("output", "said"),
    [*MIXED, *((one, one) for one in SAID)],
    ids=["tags", "capitals", "closing", "brackets", "unclosed", "in-code", "in-line-code", "footnote"],
)
async def test_thought_in_an_old_answer_is_neither_found_nor_shown_in_lists(
    layer: ChainlitLayer, output: str, said: str
) -> None:
    await account(layer, "rita", "reviewer")
    owner = await user_id(layer, "alice")
    turn = await talk(layer, question="one", answer=output, thumb=0)
    has_needle, has_barn = "needle" in said, "barn" in said
    excerpt = await searched(layer, owner, "needle")
    assert (excerpt is not None) == has_needle
    barn = await searched(layer, owner, "barn")
    assert (barn is not None) == has_barn
    assert "hay" not in (barn or "")
    with reviewing():
        assert [one.answer for one in (await layer.list_answers(AnswerFilter())).rows] == [said[:300]]
        assert len((await layer.list_answers(AnswerFilter(words="needle"))).rows) == has_needle
        copy = await layer.take_over(turn.thread, step_id=turn.answer)
        assert [one.excerpt for one in await layer.answers_of_copies([copy.thread_id])] == [said[:100]]
    with datalayer.acting_as("alice"):
        await layer.cut_thread(turn.thread, turn.question)
    with reviewing():
        rows = (await layer.list_answers(AnswerFilter())).rows
    removed = [row.answer for row in rows if row.thread_id == turn.thread]
    assert removed == [said[:300]]


async def test_an_index_of_an_earlier_version_loses_the_thought(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await user_id(layer, "alice")
    with monkeypatch.context() as earlier:
        earlier.setattr(search_index, "speech_of", lambda text: text)
        threads = [(await talk(layer, question="one", answer=output)).thread for output, _ in MIXED]
        threads += [(await talk(layer, question="one", answer=output)).thread for output in SAID]
        assert set(await listed(layer, owner, search="needle")) == set(threads)
    async with layer.database.write() as connection:
        await connection.execute(delete(migrations).where(migrations.c.name == "index_speech_alone"))
    assert await layer.migrate() == ["index_speech_alone"]
    assert set(await listed(layer, owner, search="needle")) == set(threads[len(MIXED) :])
    assert set(await listed(layer, owner, search="barn")) == set(threads) - {threads[len(MIXED) - 1]}


async def test_exports_have_no_thought(layer: ChainlitLayer) -> None:
    await account(layer, "rita", "reviewer")
    old = await talk(layer, question="one", answer="<think>\nHm, 1?\n</think>\n\nAnswer 1", thumb=0)
    with datalayer.acting_as("alice"):
        await layer.create_step(thought(old.thread, "Hm, 2?", createdAt="2026-03-01T10:30:00.000000Z"))
    await talk(
        layer, question="two", answer="Answer 2", thread_id=old.thread, at="2026-03-01T11:00:00.000000Z", thumb=1
    )
    with reviewing():
        await layer.put_verdict(Verdict(old.answer, "wrong", (), None, "Better 1"))
        exported = [
            [one async for one in stream]
            for stream in (
                layer.export_conversations(AnswerFilter()),
                layer.export_pairs(AnswerFilter()),
                layer.export_fine_tuning(AnswerFilter()),
            )
        ]
    conversations, pairs, examples = exported
    assert [one["content"] for one in conversations[0]["messages"]] == ["one", "Answer 1", "two", "Answer 2"]
    assert [(one["chosen"], one["rejected"]) for one in pairs] == [("Better 1", "Answer 1")]
    assert [one["content"] for one in examples[0]["messages"]] == ["one", "Better 1", "two", "Answer 2"]
    assert "Hm" not in str(exported)


async def test_a_removed_answer_is_exported_without_its_thought(layer: ChainlitLayer) -> None:
    await account(layer, "rita", "reviewer")
    turn = await talk(layer, question="one", answer="Hm, 1?\n</think>\n\nAnswer 1", thumb=0)
    with datalayer.acting_as("alice"):
        await layer.cut_thread(turn.thread, turn.question)
        later = {"parentId": new_id(), "createdAt": "2026-03-01T12:00:00.000000Z"}
        await layer.create_step(step(turn.thread, "[THINK]Hm.[/THINK]Answer 2", type="assistant_message", **later))
    with reviewing():
        found = [one async for one in layer.export_pairs(AnswerFilter())]
    assert [(one["chosen"], one["rejected"]) for one in found] == [("Answer 2", "Answer 1")]


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("think:think", "The beginning. You said: hello"),
        ("think:closing", "The beginning. You said: hello"),
        ("think-limit:unclosed", "The beginning. "),
        ("think-limit:reasoning", "The beginning. "),
    ],
)
async def test_an_answer_that_is_continued_keeps_its_beginning(
    layer: ChainlitLayer, model: Model, name: str, output: str
) -> None:
    thread_id = await thread(layer, await user_id(layer, "alice"))
    await layer.create_step(step(thread_id, "The beginning. ", type="assistant_message", metadata={"status": "cut"}))
    before = (await layer.get_thread(thread_id))["steps"][0]
    init_http_context(thread_id=thread_id)
    reply, outcome = Reply(layer, name, "en", continued=before), Outcome()
    await stream_answer(model, ModelRequest([{"role": "user", "content": "hello"}], name), reply, outcome=outcome)
    await reply.finish(outcome)
    answer, thought_step = (await layer.get_thread(thread_id))["steps"]
    assert (answer["id"], answer["output"], answer["createdAt"]) == (before["id"], output, before["createdAt"])
    assert not answer["streaming"]
    assert (thought_step["type"], thought_step["output"]) == (THOUGHT_TYPE, "Pondering hello")
