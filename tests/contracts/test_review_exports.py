"""Exports of reviewed threads: their contents, pseudonyms, and an audit row for every thread."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.audit import Look
from datalayer.records.review import AnswerFilter, Verdict
from datalayer.review import audit, exports, filters
from tests.support.records import step, user_id, vote
from tests.support.reviewing import account, call, reviewing, talk


@pytest.fixture
async def layer(layer: ChainlitLayer) -> ChainlitLayer:
    await account(layer, "rita", "reviewer")
    return layer


async def whole(stream: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one async for one in stream]


async def test_conversations_are_exported_with_votes_and_verdicts(layer: ChainlitLayer) -> None:
    turn = await talk(layer, thumb=0, comment="no", tags=["geo"])
    await call(layer, turn, assistant="Sage")
    with datalayer.acting_as("alice"):
        await layer.give_reasons(turn.run, ["facts"])
    await talk(layer, "bob")
    with reviewing():
        await layer.put_verdict(Verdict(turn.answer, "wrong", ("facts",), "Lyon?", "It is Paris."))
        (found,) = await whole(layer.export_conversations(AnswerFilter(thumb="down"), purpose="training"))
    assert (found["id"], found["user"], found["tags"]) == (turn.thread, "alice", ["geo"])
    asked, given = found["messages"]
    assert (asked["role"], asked["content"]) == ("user", "what is the capital of France")
    assert (given["role"], given["model"], given["assistant"]) == ("assistant", "small", "Sage")
    assert [(one["user"], one["value"], one["comment"], one["reasons"]) for one in given["votes"]] == [
        ("alice", 0, "no", ["facts"])
    ]
    assert [(one["reviewer"], one["label"], one["better_answer"]) for one in given["verdicts"]] == [
        ("rita", "wrong", "It is Paris.")
    ]
    with datalayer.acting_as("alice"):
        assert [(one.actor, one.action, one.purpose) for one in (await layer.who_looked()).entries] == [
            ("rita", "export", "training")
        ]
    with datalayer.acting_as("bob"):
        assert (await layer.who_looked()).entries == ()


async def test_a_removed_answer_is_a_pair_with_its_original_question(layer: ChainlitLayer) -> None:
    first = await talk(layer, question="one", answer="1")
    second = await talk(layer, question="two", answer="2", thread_id=first.thread, thumb=0,
                        at="2026-03-01T11:00:00.000000Z")  # fmt: skip
    with datalayer.acting_as("alice"):
        asked = {one["id"]: one for one in (await layer.get_thread(first.thread))["steps"]}
        for turn in (second, first):
            await layer.update_step({**asked[turn.question], "output": "reworded"})
            await layer.cut_thread(first.thread, turn.question)
            await layer.create_step(step(first.thread, "of the reworded", type="assistant_message"))
    with reviewing():
        assert await whole(layer.export_pairs(AnswerFilter())) == []
        await layer.put_verdict(Verdict(second.answer, "wrong", better_answer="not quite"))
        await layer.put_verdict(Verdict(second.answer, "wrong", better_answer="II"))
        # A removed answer without a vote or a verdict is not on the lists.
        await layer.put_verdict(Verdict(first.answer, "wrong", better_answer="I"))
        (pair,) = await whole(layer.export_pairs(AnswerFilter()))
    assert (pair["step_id"], pair["source"], pair["chosen"], pair["rejected"]) == (second.answer, "verdict", "II", "2")
    assert [(one["role"], one["content"]) for one in pair["prompt"]] == [
        ("user", "one"), ("assistant", "1"), ("user", "two"),
    ]  # fmt: skip


async def test_pairs_come_from_verdicts_better_answers_and_retries(layer: ChainlitLayer) -> None:
    judged, corrected, tried, edited = [await talk(layer, question=f"question {at}") for at in range(4)]
    await talk(layer, question="nobody said anything")
    with reviewing():
        await layer.put_verdict(Verdict(judged.answer, "wrong", better_answer="It is Paris."))
        origin = await layer.take_over(corrected.thread, step_id=corrected.answer)
        better = step(origin.thread_id, "Paris, of course.", type="assistant_message")
        await layer.create_step(better)
        await layer.link_better_run(origin.thread_id, better["id"])
    with datalayer.acting_as("alice"):
        await layer.cut_thread(tried.thread, tried.question)
        await layer.create_step(step(tried.thread, "Paris!", type="assistant_message"))
        # An answer to another question is not a better answer to this one.
        asked = (await layer.get_thread(edited.thread))["steps"][0]
        await layer.update_step({**asked, "output": "and of Italy"})
        await layer.cut_thread(edited.thread, edited.question)
        await layer.create_step(step(edited.thread, "Rome", type="assistant_message"))
    with reviewing():
        found = await whole(layer.export_pairs(AnswerFilter(users=("alice",))))
    assert sorted((one["source"], one["chosen"], one["rejected"]) for one in found) == [
        ("retry", "Paris!", "It is Lyon."),
        ("run", "Paris, of course.", "It is Lyon."),
        ("verdict", "It is Paris.", "It is Lyon."),
    ]
    (pair,) = [one for one in found if one["source"] == "verdict"]
    assert pair["prompt"] == [{"role": "user", "content": "question 0"}]


async def test_training_examples_contain_the_better_answers(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    later = await talk(layer, question="and of Italy", answer="Rome", thread_id=turn.thread,
                       at="2026-03-02T10:00:00.000000Z", thumb=1)  # fmt: skip
    await talk(layer, question="and of Spain", answer="Madrid", thread_id=turn.thread, at="2026-03-03T10:00:00.000000Z")
    with reviewing():
        await layer.put_verdict(Verdict(turn.answer, "wrong", better_answer="It is Paris."))
        (found,) = await whole(layer.export_fine_tuning(AnswerFilter(thumb="up")))
    assert found == {
        "messages": [
            {"role": "user", "content": "what is the capital of France"},
            {"role": "assistant", "content": "It is Paris.", "weight": 0},
            {"role": "user", "content": "and of Italy"},
            {"role": "assistant", "content": "Rome", "weight": 1},
        ]
    }
    assert later.thread == turn.thread


async def test_bad_and_incomplete_answers_are_not_examples(layer: ChainlitLayer) -> None:
    down = await talk(layer, thumb=0)
    judged, alright = await talk(layer), await talk(layer, answer="It is Paris.")
    failed = await talk(layer, answer="The server failed.", answer_fields={"isError": True})
    again = await talk(
        layer, "alice", "and of Italy", "Rome", thread_id=failed.thread, at="2026-03-02T10:00:00.000000Z"
    )
    stopped = await talk(layer, answer="It is", answer_fields={"metadata": {"status": "stopped"}})
    with reviewing():
        await layer.put_verdict(Verdict(judged.answer, "wrong"))
        await layer.put_verdict(Verdict(alright.answer, "correct"))
        found = await whole(layer.export_fine_tuning(AnswerFilter()))
        texts = [[message["content"] for message in one["messages"]] for one in found]
        question = "what is the capital of France"
        assert sorted(texts) == [[question, "It is Paris."], [question, "and of Italy", "Rome"]]
        for turn in (down, judged, failed, stopped):
            await layer.put_verdict(Verdict(turn.answer, "wrong", better_answer="Paris"))
        found = await whole(layer.export_fine_tuning(AnswerFilter(labels=("wrong",))))
    assert [one["messages"][-1] for one in found] == [{"role": "assistant", "content": "Paris", "weight": 1}] * 4
    assert again.thread == failed.thread


async def test_a_retry_with_a_thumb_down_or_a_bad_verdict_is_not_chosen(layer: ChainlitLayer) -> None:
    turns = [await talk(layer, question=f"question {at}") for at in range(3)]
    again = [step(turn.thread, "Try again!", type="assistant_message") for turn in turns]
    with datalayer.acting_as("alice"):
        for turn, answer in zip(turns, again, strict=True):
            await layer.cut_thread(turn.thread, turn.question)
            await layer.create_step(answer)
        await layer.upsert_feedback(vote(again[0]["id"], 0))
    with reviewing():
        await layer.put_verdict(Verdict(again[1]["id"], "unsafe"))
        found = await whole(layer.export_pairs(AnswerFilter()))
    assert [(one["thread_id"], one["source"]) for one in found] == [(turns[2].thread, "retry")]


async def test_a_retry_after_an_edit_of_an_earlier_question_is_a_pair(layer: ChainlitLayer) -> None:
    """The edit removed a later question. The answers that were given after that have no question between them."""
    first = await talk(layer, question="one", answer="1")
    await talk(layer, question="two", answer="2", thread_id=first.thread, at="2026-03-01T11:00:00.000000Z")
    with datalayer.acting_as("alice"):
        asked = (await layer.get_thread(first.thread))["steps"][0]
        await layer.update_step({**asked, "output": "uno"})
        for text in ("of the edited one", "regenerated"):
            await layer.cut_thread(first.thread, first.question)
            await layer.create_step(step(first.thread, text, type="assistant_message"))
    with reviewing():
        (pair,) = await whole(layer.export_pairs(AnswerFilter()))
    assert (pair["source"], pair["chosen"], pair["rejected"]) == ("retry", "regenerated", "of the edited one")
    assert pair["prompt"] == [{"role": "user", "content": "uno"}]


async def test_an_answer_to_a_removed_question_is_not_paired_with_another(layer: ChainlitLayer) -> None:
    first = await talk(layer, question="of France", answer="Paris")
    await talk(layer, question="of Italy", answer="Rome", thread_id=first.thread, at="2026-03-02T10:00:00.000000Z")
    with datalayer.acting_as("alice"):
        await layer.cut_thread(first.thread, first.question)
        await layer.create_step(step(first.thread, "Paris!", type="assistant_message"))
    with reviewing():
        found = await whole(layer.export_pairs(AnswerFilter()))
    assert [(one["chosen"], one["rejected"]) for one in found] == [("Paris!", "Paris")]


async def test_failed_and_equal_answers_are_never_chosen_and_hide_no_better_one(
    layer: ChainlitLayer,
) -> None:
    turn = await talk(layer, thumb=0)
    await account(layer, "rob", "reviewer")

    async def linked(reviewer: str, text: str, **fields: Any) -> None:
        with reviewing(reviewer):
            origin = await layer.take_over(turn.thread, step_id=turn.answer)
            if "question" in fields:
                await layer.create_step(step(origin.thread_id, fields.pop("question")))
            run = step(origin.thread_id, text, type="assistant_message", **fields)
            await layer.create_step(run)
            await layer.link_better_run(origin.thread_id, run["id"])

    await linked("rita", "The model is overloaded.", isError=True)
    await linked("rita", "It is Lyon.")
    with reviewing():
        assert await whole(layer.export_pairs(AnswerFilter())) == []
        assert await whole(layer.export_fine_tuning(AnswerFilter())) == []
    await linked("rita", "It is Paris.")
    await linked("rob", "Rome", question="and of Italy")
    with reviewing():
        (pair,) = await whole(layer.export_pairs(AnswerFilter()))
    assert (pair["source"], pair["chosen"]) == ("run", "It is Paris.")


async def test_the_latest_better_answer_to_the_same_question_is_chosen(
    layer: ChainlitLayer,
) -> None:
    turn = await talk(layer)
    with reviewing():
        await layer.put_verdict(Verdict(turn.answer, "wrong", better_answer="Paris, I say"))
        origin = await layer.take_over(turn.thread, step_id=turn.answer)
        better = step(origin.thread_id, "Paris, of course.", type="assistant_message")
        asked = step(origin.thread_id, "and what of Italy")
        other = step(origin.thread_id, "Rome", type="assistant_message")
        for one in (better, asked, other):
            await layer.create_step(one)
        for linked, source, chosen in ((better, "run", better["output"]), (other, "verdict", "Paris, I say")):
            await layer.link_better_run(origin.thread_id, linked["id"])
            (pair,) = await whole(layer.export_pairs(AnswerFilter()))
            assert (pair["source"], pair["chosen"], pair["rejected"]) == (source, chosen, "It is Lyon.")


async def test_pseudonyms_are_stable_per_key_and_reveal_no_name(layer: ChainlitLayer) -> None:
    for identifier in ("alice", "bob", "alice"):
        await talk(layer, identifier, thumb=0)
    with reviewing():
        one = await whole(layer.export_conversations(AnswerFilter(), pseudonym_key=b"a key"))
        same = await whole(layer.export_conversations(AnswerFilter(), pseudonym_key=b"a key"))
        other = await whole(layer.export_conversations(AnswerFilter(), pseudonym_key=b"another"))
        plain = await whole(layer.export_conversations(AnswerFilter()))
    assert one == same
    names = dict(zip([found["user"] for found in plain], [found["user"] for found in one], strict=True))
    assert len(set(names.values())) == 2
    assert "alice" not in str(one)
    assert not set(names.values()) & {found["user"] for found in other}


async def test_a_long_export_reads_and_audits_page_by_page(layer: ChainlitLayer) -> None:
    turns = [await talk(layer) for _ in range(45)]
    with reviewing():
        stream = layer.export_conversations(AnswerFilter())
        first = await anext(stream)
        with datalayer.acting_as("alice"):
            # The audit has the rows of a page before its first thread is in the stream, and none of later pages.
            assert len((await layer.who_looked(limit=200)).entries) == 20
        found = [first, *(await whole(stream))]
    assert {one["id"] for one in found} == {turn.thread for turn in turns}
    assert len(found) == 45
    with datalayer.acting_as("alice"):
        assert len((await layer.who_looked(limit=200)).entries) == 45


async def test_an_export_runs_as_the_user_who_called_it(layer: ChainlitLayer) -> None:
    await talk(layer)
    with datalayer.acting_as("alice"):
        stream = layer.export_pairs(AnswerFilter())
    with reviewing(), pytest.raises(datalayer.Forbidden):
        await anext(stream)


async def test_an_export_by_common_words_contains_every_thread(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "MOST_THREADS", 2)
    monkeypatch.setattr(exports, "_AT_ONCE", 3)
    turns = [await talk(layer, user, question="which river is long") for user in ("alice", "bob") * 4]
    await talk(layer, question="something else")
    await talk(layer, "carol", question="which river is short")
    rivers = AnswerFilter(words="river", users=("alice", "bob"))
    with reviewing():
        assert (await layer.list_answers(rivers)).is_partial
        found = await whole(layer.export_conversations(rivers))
    assert [one["id"] for one in found] == sorted(turn.thread for turn in turns)
    with datalayer.acting_as("carol"):
        assert (await layer.who_looked()).entries == ()


async def test_only_threads_in_the_export_are_in_the_audit(layer: ChainlitLayer) -> None:
    turns = [await talk(layer, thumb=0) for _ in range(3)]
    with reviewing():
        assert await whole(layer.export_pairs(AnswerFilter(thumb="down"))) == []
        assert await whole(layer.export_fine_tuning(AnswerFilter(thumb="down"))) == []
        with datalayer.acting_as("alice"):
            assert (await layer.who_looked()).entries == ()
        await layer.put_verdict(Verdict(turns[1].answer, "wrong", better_answer="It is Paris."))
        (pair,) = await whole(layer.export_pairs(AnswerFilter(thumb="down"), purpose="training"))
    with datalayer.acting_as("alice"):
        (entry,) = (await layer.who_looked()).entries
    assert (entry.thread_id, entry.purpose) == (pair["thread_id"], "training") == (turns[1].thread, "training")


async def test_the_audit_row_of_a_large_thread_is_stored_once_before_its_first_record(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_LARGEST_BATCH", 1)
    turns = [await talk(layer) for _ in range(2)]
    turns += [
        await talk(layer, thread_id=turn.thread, at="2026-03-02T10:00:00.000000Z", question="again") for turn in turns
    ]
    with reviewing():
        for turn in turns:
            await layer.put_verdict(Verdict(turn.answer, "wrong", better_answer="It is Paris."))
        seen = []
        async for pair in layer.export_pairs(AnswerFilter()):
            with datalayer.acting_as("alice"):
                seen.append((pair["thread_id"], [one.thread_id for one in (await layer.who_looked()).entries]))
    first, second = sorted({turn.thread for turn in turns})
    assert seen == [(first, [first])] * 2 + [(second, [second, first])] * 2


async def test_records_are_formed_only_as_far_as_they_are_read(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_LARGEST_BATCH", 100)
    await talk(layer)
    await layer.answer_follower.caught_up()
    formed = 0

    def form(_: exports.Talk) -> Iterator[dict[str, Any]]:
        nonlocal formed
        for formed in range(1, 1_001):  # noqa: B007  read by the test
            yield {"prompt": [{"content": "x" * 40}]}

    stream = exports.export(layer.database, AnswerFilter(), form, actor="rita", pseudonym_key=None, purpose=None,
                            bad_labels=())  # fmt: skip
    await anext(stream)
    assert formed == 3, "a batch of 120 characters"
    assert len(await whole(stream)) == 999


async def test_a_reviewer_whose_role_ends_is_stopped_at_the_next_thread(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_LARGEST_BATCH", 1)
    for _ in range(3):
        await talk(layer)
    with reviewing():
        stream = layer.export_conversations(AnswerFilter())
        first = await anext(stream)
        await layer.set_role("rita", "user")
        with pytest.raises(datalayer.Forbidden):
            await anext(stream)
    with datalayer.acting_as("alice"):
        assert [one.thread_id for one in (await layer.who_looked()).entries] == [first["id"]]


async def test_small_threads_share_one_statement_of_the_audit(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    note = audit.note

    async def counted(connection: Any, action: Any, actor: Any, subjects: Any, **options: Any) -> None:
        sizes.append(len(subjects))
        await note(connection, action, actor, subjects, **options)

    monkeypatch.setattr(audit, "note", counted)
    for _ in range(25):
        await talk(layer)
    with reviewing():
        assert len(await whole(layer.export_conversations(AnswerFilter()))) == 25
    assert sizes == [20, 5]


async def lines(layer: ChainlitLayer, limit: int) -> list[Look]:
    """All lines of the acting user, page by page."""
    found: list[Look] = []
    cursor = None
    while True:
        page = await layer.who_looked_by_export(cursor=cursor, limit=limit)
        assert len(page.looks) <= limit
        found += page.looks
        cursor = page.next_cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 2, 200])
async def test_owners_see_one_line_for_each_export(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(exports, "_LARGEST_BATCH", 1)
    await account(layer, "rob", "reviewer")
    turns = sorted([await talk(layer) for _ in range(12)], key=lambda one: one.thread)
    await talk(layer, "bob")
    alice = await user_id(layer, "alice")
    async with layer.database.write() as connection:
        # Stored before exports had ids.
        subjects = [(turn.thread, alice) for turn in turns[:2]]
        await audit.note(connection, "export", "rita", subjects, details={"form": "pairs"})
    with reviewing():
        ritas = layer.export_conversations(AnswerFilter(), purpose="training")
    with reviewing("rob"):
        robs = layer.export_conversations(AnswerFilter(users=("alice",)))
    # The rows of the two exports alternate, and a thread is opened between them.
    for _ in range(5):
        await anext(ritas)
        await anext(robs)
    with reviewing():
        await layer.open_thread_for_review(turns[3].thread)
    await whole(ritas)
    await whole(robs)
    async with layer.database.write() as connection:
        await audit.note_takeout(connection, "alice")
    with datalayer.acting_as("alice"):
        found = await lines(layer, limit)
        threads = [turn.thread for turn in turns]
        assert [(one.entry.actor, one.entry.action, one.count) for one in found] == [
            (None, "export", 12),
            ("rob", "export", 12),
            ("rita", "export", 12),
            ("rita", "read", 1),
            ("rita", "export", 1),
            ("rita", "export", 1),
        ]
        assert found[2].entry.purpose == "training"
        assert [one.thread_ids for one in found[1:3]] == [tuple(threads[:10])] * 2
        assert [one.thread_ids for one in found[3:]] == [(threads[3],), (threads[1],), (threads[0],)]
        of_export = await layer.who_looked(export=found[2].entry.export_id)
        assert sorted(str(one.thread_id) for one in of_export.entries) == threads
        assert {one.actor for one in of_export.entries} == {"rita"}
        with pytest.raises(datalayer.InvalidRecord):
            await layer.who_looked_by_export(limit=0)
        with pytest.raises(datalayer.InvalidRecord):
            await layer.who_looked_by_export(cursor="nonsense")
    with datalayer.acting_as("bob"):
        assert [(one.entry.actor, one.count) for one in await lines(layer, limit)] == [("rita", 1)]
        assert (await layer.who_looked(export=found[1].entry.export_id)).entries == ()
    with datalayer.acting_as("nobody"):
        assert await lines(layer, limit) == []
