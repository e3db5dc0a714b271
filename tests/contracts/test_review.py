"""Answers are found by every filter, read with a row in the audit, and judged by several reviewers."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, insert, select

import datalayer
from datalayer import create_data_layer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.history import answers as review_answers
from datalayer.records.review import AnswerFilter, Sampled, Verdict
from datalayer.schema.chat import users
from datalayer.schema.review import answers, audit_entries
from tests.contracts.test_elements import text_element
from tests.support.records import new_id, step, user_id, vote
from tests.support.reviewing import Turn, account, call, reviewing, talk


@pytest.fixture
async def layer(layer: ChainlitLayer) -> ChainlitLayer:
    await account(layer, "rita", "reviewer")
    await account(layer, "rob", "reviewer")
    await account(layer, "ada", "admin")
    return layer


async def found(layer: ChainlitLayer, **which: Any) -> list[str]:
    with reviewing():
        page = await layer.list_answers(AnswerFilter(**which))
        assert (await layer.count_answers(AnswerFilter(**which))).count == len(page.rows)
    return [row.step_id for row in page.rows]


async def test_messages_of_the_application_are_not_answers(layer: ChainlitLayer) -> None:
    await talk(layer, answer="Older messages were left out.", answer_fields={"metadata": {"status": "notice"}})
    turn = await talk(layer, answer_fields={"metadata": {"status": "complete"}})
    with reviewing():
        found = await layer.list_answers(AnswerFilter())
    assert [row.step_id for row in found.rows] == [turn.answer]


async def test_answers_are_found_by_each_field_of_the_filter(layer: ChainlitLayer) -> None:
    good = await talk(layer, thumb=1, at="2026-03-01T10:00:00.000000Z")
    bad = await talk(layer, "bob", thumb=0, comment="no", at="2026-03-02T10:00:00.000000Z", tags=["geo", "eu"])
    plain = await talk(layer, "bob", "and of Italy", "Rome", at="2026-03-03T10:00:00.000000Z",
                       metadata={"chat_profile": "Guide"})  # fmt: skip
    broken = await talk(layer, at="2026-03-04T10:00:00.000000Z", answer_fields={"isError": True})
    await call(layer, bad, model="large", cost="2", assistant="Sage")
    # The price of one call is unknown, so the cost of both is unknown.
    for cost in (None, "9"):
        await call(layer, plain, model="small", cost=cost)
    await call(layer, good, model="small", cost="0.25")
    everything = [broken.answer, plain.answer, bad.answer, good.answer]
    expected: list[tuple[dict[str, Any], list[Turn]]] = [
        ({"thumb": "up"}, [good]),
        ({"thumb": "down"}, [bad]),
        ({"thumb": "none"}, [broken, plain]),
        ({"has_comment": True}, [bad]),
        ({"has_comment": False}, [broken, plain, good]),
        ({"assistants": ("Sage",)}, [bad]),
        ({"assistants": ("Guide", "Sage")}, [plain, bad]),
        ({"models": ("small",)}, [plain, good]),
        ({"users": ("bob",)}, [plain, bad]),
        ({"users": ("bob", "alice"), "thumb": "up"}, [good]),
        ({"users": ("nobody",)}, []),
        ({"tags": ("eu",)}, [bad]),
        ({"since": "2026-03-02", "until": "2026-03-04T00:00:00Z"}, [plain, bad]),
        ({"min_cost": Decimal(1)}, [bad]),
        ({"max_cost": Decimal("0.25")}, [good]),
        ({"is_error": True}, [broken]),
        ({"is_error": False}, [plain, bad, good]),
        ({"is_reviewed": True}, []),
        ({"words": "rome"}, [plain]),
        ({"words": "capital fra", "users": ("alice",)}, [broken, good]),
        ({"words": "!?"}, []),
    ]
    assert await found(layer) == everything
    for which, turns in expected:
        assert await found(layer, **which) == [turn.answer for turn in turns], which
    with reviewing():
        row = (await layer.list_answers(AnswerFilter(thumb="down"))).rows[0]
        facets = await layer.answer_facets()
        bare = (await layer.list_answers(AnswerFilter(thumb="down"), excerpts=False)).rows[0]
    assert (bare.step_id, bare.thread_name, bare.question, bare.answer) == (row.step_id, None, None, None)
    assert (row.user, row.thread_name, row.tags) == ("bob", "what is the capital of France", ("geo", "eu"))
    assert (row.question, row.answer) == ("what is the capital of France", "It is Lyon.")
    assert (row.thumb, row.comment, row.model, row.assistant) == ("down", "no", "large", "Sage")
    assert (row.tokens, row.cost, row.seconds, row.verdicts, row.is_error) == (25, Decimal(2), 1.5, 0, False)
    assert facets == {"assistants": ["Guide", "Sage"], "versions": [], "models": ["large", "small"], "labels": [],
                      "reasons": [], "tags": ["eu", "geo"], "reviewers": ["ada", "rita", "rob"]}  # fmt: skip


async def test_reasons_are_added_to_a_vote_and_found(layer: ChainlitLayer) -> None:
    turn = await talk(layer, thumb=0)
    other = await talk(layer, "bob", thumb=0)
    with datalayer.acting_as("alice"):
        assert await layer.give_reasons(turn.run, ["wrong", "too long"], "it is Paris")
        assert not await layer.give_reasons(other.run, ["wrong"])
        own = (await layer.get_thread(turn.thread))["steps"][1]["feedback"]["id"]
        assert await layer.reasons_of_votes([own, "nothing"]) == {own: ("wrong", "too long")}
    with datalayer.acting_as("bob"):
        assert await layer.reasons_of_votes([own]) == {}, "they are of another user"
    assert await found(layer, reasons=("too long", "other")) == [turn.answer]
    assert await found(layer, has_comment=True) == [turn.answer]
    with reviewing():
        row = (await layer.list_answers(AnswerFilter(reasons=("wrong",)))).rows[0]
        assert (row.reasons, row.comment) == (("wrong", "too long"), "it is Paris")
        assert (await layer.answer_facets())["reasons"] == ["too long", "wrong"]
    with datalayer.acting_as("alice"):
        # The vote changes: it has reasons of its own, and a new comment.
        await layer.upsert_feedback(vote(turn.run, 1))
    assert await found(layer, reasons=("wrong",)) == []


async def test_answers_follow_votes_and_deletions(layer: ChainlitLayer) -> None:
    turn = await talk(layer, thumb=0)
    assert await found(layer, thumb="down") == [turn.answer]
    with datalayer.acting_as("alice"):
        found_vote = (await layer.get_thread(turn.thread))["steps"][1]["feedback"]["id"]
        await layer.delete_feedback(found_vote)
    assert await found(layer, thumb="down") == []
    with datalayer.acting_as("alice"):
        # A vote on a run counts for its last answer.
        second = step(turn.thread, "Paris.", type="assistant_message", parentId=turn.run)
        await layer.create_step(second)
        await layer.upsert_feedback(vote(turn.run, 1))
    assert await found(layer, thumb="none") == [turn.answer]
    assert await found(layer, thumb="up") == [second["id"]]
    with datalayer.acting_as("alice"):
        await layer.upsert_feedback(vote(turn.answer, 0))
    assert await found(layer, thumb="down") == [turn.answer]
    assert await found(layer, thumb="up") == [second["id"]]
    with datalayer.acting_as("alice"):
        await layer.delete_step(second["id"])
    assert await found(layer, thumb="up") == []
    with datalayer.acting_as("alice"):
        await layer.delete_thread(turn.thread)
    assert await found(layer) == []
    async with layer.database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(answers))).scalar_one() == 0


async def test_answers_are_found_by_new_tags_flags_and_owners(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    bob = await user_id(layer, "bob")
    assert await found(layer, tags=("geo",)) == await found(layer, is_flagged=True) == []
    await layer.update_thread(turn.thread, tags=["geo"])
    with reviewing():
        await layer.mark_thread(turn.thread, "flag", note="look")
    assert await found(layer, tags=("geo", "eu")) == await found(layer, is_flagged=True) == [turn.answer]
    with reviewing():
        assert (await layer.list_answers(AnswerFilter())).rows[0].is_flagged
        await layer.unmark_thread(turn.thread, "flag")
    assert await found(layer, is_flagged=True) == []
    await layer.update_thread(turn.thread, user_id=bob)
    assert await found(layer, users=("alice",)) == []
    assert await found(layer, users=("bob",)) == [turn.answer]


async def test_two_processes_that_gather_answers_at_once_lose_none(layer: ChainlitLayer, database_url: str) -> None:
    turns = [await talk(layer) for _ in range(6)]
    other = create_data_layer(database_url)

    async def vote_on(turn: Turn) -> None:
        with datalayer.acting_as("alice"):
            for thumb in (0, 1, 0, 1):
                await layer.upsert_feedback(vote(turn.run, thumb))

    async def look(replica: ChainlitLayer) -> None:
        with reviewing():
            for _ in range(8):
                await replica.list_answers(AnswerFilter(thumb="down"))

    try:
        await asyncio.gather(*map(vote_on, turns), look(layer), look(other))
    finally:
        await other.close()
    assert set(await found(layer, thumb="up")) == {turn.answer for turn in turns}


async def test_gathering_waits_for_another_process_and_leaves_nothing_pending(
    layer: ChainlitLayer, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_answers, "BATCH", 1)
    await talk(layer, thumb=0)
    other = create_data_layer(database_url)
    try:
        async with layer.database.write() as connection:
            assert await review_answers.take_marks(connection, layer.database.dialect)
            second = asyncio.create_task(other.answer_follower.caught_up())
            assert not (await asyncio.wait([second], timeout=0.3))[0]
        assert await second
        assert not await layer.database.query(review_answers.is_behind)
    finally:
        await other.close()


async def test_pages_contain_every_answer_once(layer: ChainlitLayer) -> None:
    # Some answers have the same time.
    turns = [await talk(layer, at=f"2026-03-0{1 + at // 4}T10:00:00.000000Z", thumb=at % 2) for at in range(12)]
    for which in (AnswerFilter(), AnswerFilter(thumb="down")):
        seen: list[str] = []
        cursor = None
        with reviewing():
            while True:
                page = await layer.list_answers(which, cursor=cursor, limit=3)
                seen += [row.step_id for row in page.rows]
                cursor = page.next_cursor
                if cursor is None:
                    break
            whole = await layer.list_answers(which)
            assert seen == [row.step_id for row in whole.rows]
            assert len(set(seen)) == len(seen) == (12 if which.thumb is None else 6)
            count = await layer.count_answers(which, most=5)
        assert (count.count, count.is_more) == (5, True)
    assert len(turns) == 12
    for cursor in ("x", "WzFd", "é"):
        with reviewing(), pytest.raises(datalayer.InvalidRecord):
            await layer.list_answers(AnswerFilter(), cursor=cursor)


async def test_reading_a_thread_adds_an_audit_row_that_its_owner_sees(layer: ChainlitLayer) -> None:
    turn = await talk(layer, thumb=0, comment="no")
    await call(layer, turn)
    with reviewing():
        with pytest.raises(datalayer.InvalidRecord, match="purpose"):
            await layer.open_thread_for_review(turn.thread, purpose="  ", purpose_required=True)
        opened = await layer.open_thread_for_review(turn.thread, purpose="a complaint", purpose_required=True)
        assert opened is not None
        assert await layer.open_thread_for_review(new_id()) is None
    assert [one["id"] for one in opened.thread["steps"]] == [turn.question, turn.run, turn.answer]
    assert [(one.step_id, one.value, one.comment, one.user) for one in opened.votes] == [(turn.run, 0, "no", "alice")]
    assert [(one.step_id, one.model, one.calls, one.cost) for one in opened.usage] == [
        (turn.answer, "small", 1, Decimal("0.5"))
    ]
    with datalayer.acting_as("alice"):
        looked = (await layer.who_looked()).entries
    assert [(one.actor, one.action, one.thread_id, one.purpose) for one in looked] == [
        ("rita", "read", turn.thread, "a complaint")
    ]
    for other in ("bob", None):
        with datalayer.acting_as(other):
            assert (await layer.who_looked()).entries == ()
    with datalayer.acting_as("ada"):
        assert (await layer.list_audit(actor="rita")).entries == looked
        assert (await layer.list_audit(thread_id=turn.thread)).entries == looked
        assert (await layer.list_audit(actor="rob")).entries == ()
    with reviewing(), pytest.raises(datalayer.Forbidden):
        await layer.list_audit()


async def test_the_audit_row_is_stored_even_if_the_read_fails(
    layer: ChainlitLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = await talk(layer)

    async def fail(*_: Any) -> None:
        raise datalayer.StorageUnavailable("gone")

    monkeypatch.setattr("datalayer.history.thread_reads.get", fail)
    with reviewing(), pytest.raises(datalayer.StorageUnavailable):
        await layer.open_thread_for_review(turn.thread)
    async with layer.database.read() as connection:
        assert (await connection.execute(select(audit_entries.c.subjectId))).scalars().all() == [turn.thread]


async def test_only_a_reviewer_who_opened_the_thread_reads_its_files(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    with datalayer.acting_as("alice"):
        element = text_element(turn.thread, turn.question, "a file")
        await layer.create_element(element)
    with reviewing():
        assert await layer.open_element_for_review(turn.thread, element.id) is None
        await layer.open_thread_for_review(turn.thread)
        opened = await layer.open_element_for_review(turn.thread, element.id)
        assert opened is not None
        assert b"".join([chunk async for chunk in opened[1]]) == b"a file"
        assert await layer.open_element_for_review(new_id(), element.id) is None
    with reviewing("rob"):
        assert await layer.open_element_for_review(turn.thread, element.id) is None


async def test_reviewers_see_versions_of_edited_and_removed_messages(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    with datalayer.acting_as("alice"):
        asked = (await layer.get_thread(turn.thread))["steps"][0]
        await layer.update_step({**asked, "output": "what is the capital of Spain"})
        await layer.cut_thread(turn.thread, turn.question)
        given = step(turn.thread, "Madrid.", type="assistant_message")
        await layer.create_step(given)
        # A streamed answer that grows has no versions.
        await layer.update_step({**given, "output": "Madrid, I think."})
        shown = await layer.get_thread(turn.thread)
        # This is how Chainlit removes the messages after an edited question.
        await layer.delete_step(given["id"])
    assert [one["output"] for one in shown["steps"]] == ["what is the capital of Spain", "Madrid, I think."]
    with reviewing():
        opened = await layer.open_thread_for_review(turn.thread)
    assert opened is not None
    assert [(one.step_id, one.change, one.output) for one in opened.versions] == [
        (turn.question, "edited", "what is the capital of France"),
        (turn.answer, "removed", "It is Lyon."),
        (given["id"], "removed", "Madrid, I think."),
    ]
    with datalayer.acting_as("alice"):
        receipt = await layer.delete_thread_with_receipt(turn.thread)
    assert receipt.rows["step_versions"] == 3


async def edited(layer: ChainlitLayer, turn: Turn, text: str) -> None:
    """Edit the question as Chainlit does: the answer is removed first, and its run with the new answer."""
    with datalayer.acting_as("alice"):
        asked = next(one for one in (await layer.get_thread(turn.thread))["steps"] if one["id"] == turn.question)
        await layer.delete_step(turn.answer)
        await layer.update_step({**asked, "output": text})
        await layer.cut_thread(turn.thread, turn.question)


async def test_a_removed_answer_is_found_by_its_vote_and_judged(layer: ChainlitLayer) -> None:
    turn = await talk(layer, thumb=0, comment="no")
    unrated = await talk(layer, question="and of Italy", at="2026-03-02T10:00:00.000000Z")
    await call(layer, turn, model="large", cost="2", assistant="Sage")
    with datalayer.acting_as("alice"):
        await layer.give_reasons(turn.run, ["wrong"])
    await edited(layer, turn, "what is the capital of Spain")
    await edited(layer, unrated, "and of Malta")
    anew = await talk(layer, thread_id=turn.thread, question="x", at="2026-03-03T10:00:00.000000Z", answer="Madrid.")
    assert await found(layer) == [anew.answer, turn.answer], "a regenerated answer without a vote is not listed"
    for which in ({"thumb": "down"}, {"has_comment": True}, {"reasons": ("wrong",)}, {"assistants": ("Sage",)}):
        assert await found(layer, **which) == [turn.answer], which
    with reviewing():
        (row,) = (await layer.list_answers(AnswerFilter(thumb="down"))).rows
        (bare,) = (await layer.list_answers(AnswerFilter(thumb="down"), excerpts=False)).rows
        assert (await layer.answer_facets())["reasons"] == ["wrong"]
        numbers = await layer.satisfaction("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", "day", "UTC")
        opened = await layer.open_thread_for_review(turn.thread)
        assert await layer.fill_queue(percent=0) == Sampled(1, 0)
        item = await layer.take_next()
        assert item is not None
        await layer.put_verdict(Verdict(item.step_id, "wrong", better_answer="It is Paris."))
        assert await layer.take_next() is None
        with pytest.raises(datalayer.NotFound):
            await layer.put_verdict(Verdict(turn.question, "wrong"))
    assert (row.question, row.answer) == ("what is the capital of France", "It is Lyon.")
    assert (row.thumb, row.comment, row.reasons, row.is_removed) == ("down", "no", ("wrong",), True)
    assert (row.model, row.assistant, row.tokens, row.cost) == ("large", "Sage", 25, Decimal(2))
    assert (bare.step_id, bare.question, bare.answer, bare.comment) == (turn.answer, None, None, None)
    assert [(one.up, one.down) for one in numbers] == [(0, 1)]
    assert opened is not None
    assert [(one.step_id, one.value, one.comment, one.reasons, one.user) for one in opened.votes] == [
        (turn.run, 0, "no", ("wrong",), "alice")
    ]
    assert [(one.step_id, one.model) for one in opened.usage] == [(turn.answer, "large")]
    assert item.step_id == turn.answer
    assert await found(layer, is_reviewed=True, labels=("wrong",)) == [turn.answer]
    with datalayer.acting_as("alice"):
        await layer.delete_thread(turn.thread)
    assert await found(layer) == []


async def test_a_removed_answer_is_listed_with_its_original_question(layer: ChainlitLayer) -> None:
    first = await talk(layer, question="one")
    second = await talk(layer, question="two", thread_id=first.thread, thumb=1, at="2026-03-01T11:00:00.000000Z")
    with datalayer.acting_as("alice"):
        asked = next(one for one in (await layer.get_thread(first.thread))["steps"] if one["id"] == second.question)
        for text in ("two, reworded", "two, reworded again"):
            await layer.update_step({**asked, "output": text})
    await edited(layer, first, "one, reworded")
    with reviewing():
        (row,) = (await layer.list_answers(AnswerFilter())).rows
    assert (row.step_id, row.question) == (second.answer, "two")


async def test_a_vote_on_a_run_counts_for_its_last_answer_even_if_removed(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    with datalayer.acting_as("alice"):
        second = step(turn.thread, "Paris.", type="assistant_message", parentId=turn.run)
        await layer.create_step(second)
        await layer.upsert_feedback(vote(turn.run, 0))
        await layer.delete_step(second["id"])
    assert await found(layer, thumb="down") == [turn.answer], "as the chat shows it"
    with datalayer.acting_as("alice"):
        await layer.delete_step(turn.answer)
    assert await found(layer) == [second["id"]], "the run is there, with its thumb"
    with datalayer.acting_as("alice"):
        run = next(one for one in (await layer.get_thread(turn.thread))["steps"] if one["id"] == turn.run)
        await layer.delete_feedback(run["feedback"]["id"])
    assert await found(layer) == []
    with datalayer.acting_as("alice"):
        await layer.upsert_feedback(vote(turn.run, 1))
        await layer.delete_step(turn.run)
    assert await found(layer, thumb="up") == [second["id"]]
    with datalayer.acting_as("alice"):
        # A late update brings the step back; it is then no longer a removed one.
        await layer.update_step(second)
    assert await found(layer, thumb="up") == [second["id"]]
    with reviewing():
        assert not (await layer.list_answers(AnswerFilter())).rows[0].is_removed


async def test_a_removed_answer_is_not_found_without_its_voter_or_text(layer: ChainlitLayer) -> None:
    turn, other = await talk(layer, thumb=0), await talk(layer, thumb=0)
    for one in (turn, other):
        await edited(layer, one, "something else")
    bob = await user_id(layer, "bob")
    await layer.update_thread(turn.thread, user_id=bob)
    assert set(await found(layer)) == {turn.answer, other.answer}
    with datalayer.acting_as("ada"):
        await layer.mark_thread(turn.thread, "pin")
        await layer.apply_retention({"payloads": "2100-01-01"})
    assert await found(layer) == [turn.answer]
    await layer.delete_user("alice")
    assert await found(layer) == []


async def test_several_reviewers_judge_an_answer_and_every_change_is_stored(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    with reviewing():
        first = await layer.put_verdict(Verdict(turn.answer, "wrong", ("facts",), "Lyon?", "It is Paris."))
        await layer.put_verdict(Verdict(turn.answer, "wrong", ("facts",), "Lyon?", "It is Paris."))
        changed = await layer.put_verdict(Verdict(turn.answer, "unclear"))
    with reviewing("rob"):
        await layer.put_verdict(Verdict(turn.answer, "correct", reviewer="rita"))
        opened = await layer.open_thread_for_review(turn.thread)
        history = await layer.verdict_history(turn.thread)
    assert (first.reviewer, first.better_answer, first.thread_id) == ("rita", "It is Paris.", turn.thread)
    assert (changed.note, changed.better_answer, changed.created_at) == (None, None, first.created_at)
    assert opened is not None
    assert [(one.reviewer, one.label) for one in opened.verdicts] == [("rita", "unclear"), ("rob", "correct")]
    assert [(one.reviewer, one.label, one.reasons) for one in history] == [
        ("rita", "wrong", ("facts",)), ("rita", "unclear", ()), ("rob", "correct", ()),
    ]  # fmt: skip
    assert await found(layer, labels=("unclear",)) == [turn.answer]
    assert await found(layer, is_reviewed=False) == []
    with datalayer.acting_as("alice"):
        reviewed = await layer.reviewed_answers(turn.thread)
    assert [(one.step_id, one.reviewers) for one in reviewed] == [(turn.answer, 2)]
    with datalayer.acting_as("bob"):
        assert await layer.reviewed_answers(turn.thread) == []
    with reviewing():
        assert await layer.remove_verdict(turn.answer)
        assert not await layer.remove_verdict(turn.answer)
        assert [one.label for one in await layer.verdict_history(turn.thread)][-1] is None
        for nothing in (turn.question, new_id()):
            with pytest.raises(datalayer.NotFound):
                await layer.put_verdict(Verdict(nothing, "wrong"))
        with pytest.raises(datalayer.InvalidRecord):
            await layer.put_verdict(Verdict(turn.answer, " "))


async def test_the_verdict_history_of_a_thread_covers_all_its_answers(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    later = await talk(layer, thread_id=turn.thread, at="2026-03-01T11:00:00.000000Z")
    elsewhere = await talk(layer)
    with reviewing():
        await layer.put_verdict(Verdict(turn.answer, "wrong"))
        await layer.put_verdict(Verdict(later.answer, "unclear"))
        await layer.put_verdict(Verdict(elsewhere.answer, "unsafe"))
        await layer.put_verdict(Verdict(turn.answer, "correct"))
        await layer.remove_verdict(later.answer)
        history = await layer.verdict_history(turn.thread)
        assert await layer.verdict_history(new_id()) == []
    assert [(one.step_id, one.label) for one in history] == [
        (turn.answer, "wrong"), (later.answer, "unclear"), (turn.answer, "correct"), (later.answer, None),
    ]  # fmt: skip


async def test_concurrent_verdicts_of_one_reviewer_are_stored_as_one(layer: ChainlitLayer) -> None:
    turn = await talk(layer)
    with reviewing():
        labels = ["wrong", "correct", "unsafe", "unclear"] * 3
        await asyncio.gather(*(layer.put_verdict(Verdict(turn.answer, label)) for label in labels))
        opened = await layer.open_thread_for_review(turn.thread)
        assert opened is not None
        assert [one.label for one in opened.verdicts] == ["unclear"]
        assert [one.label for one in await layer.verdict_history(turn.thread)] == labels


async def test_agreement_matches_examples_of_textbooks(layer: ChainlitLayer) -> None:
    # Two reviewers agree on 20 + 15 of 50 answers. Cohen's kappa is 0.4, a common textbook example.
    turn = await talk(layer, answer="0")
    ids = [turn.answer]
    with datalayer.acting_as("alice"):
        for at in range(1, 50):
            given = step(turn.thread, str(at), type="assistant_message")
            await layer.create_step(given)
            ids.append(given["id"])
    labels = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    for reviewer, place in (("rita", 0), ("rob", 1)):
        with reviewing(reviewer):
            await asyncio.gather(
                *(layer.put_verdict(Verdict(one, pair[place])) for one, pair in zip(ids, labels, strict=True))
            )
    with reviewing():
        agreement = await layer.agreement()
        assert (await layer.agreement(since="2100-01-01")).answers == 0
    (pair,) = agreement.pairs
    assert (pair.first, pair.second, pair.answers, pair.agreed) == ("rita", "rob", 50, 35)
    assert pair.kappa == pytest.approx(0.4)
    assert (agreement.answers, agreement.verdicts) == (50, 100)
    assert agreement.agreed == pytest.approx(0.7)
    # Fleiss' kappa by hand: (0.7 - (0.55² + 0.45²)) / (1 - (0.55² + 0.45²)).
    assert agreement.kappa == pytest.approx((0.7 - 0.505) / 0.495)


async def test_satisfaction_and_coverage_add_up(layer: ChainlitLayer) -> None:
    for day, thumb, assistant in ((1, 1, "A"), (1, 0, "A"), (1, None, "B"), (3, 0, "B"), (3, 0, "B")):
        await talk(layer, answer="sorry I cannot" if thumb == 0 else "here you are", thumb=thumb,
                   at=f"2026-03-0{day}T23:30:00.000000Z", metadata={"chat_profile": assistant})  # fmt: skip
    bad = await found(layer, thumb="down", assistants=("A",))
    with reviewing():
        await layer.put_verdict(Verdict(bad[0], "wrong"))
        days = await layer.satisfaction("2026-03-01T00:00:00Z", "2026-03-04T00:00:00Z", "day", "UTC")
        split = await layer.satisfaction(
            "2026-03-01T00:00:00Z", "2026-03-05T00:00:00Z", "day", "Europe/Berlin", split_by="assistant"
        )
        coverage = await layer.coverage(AnswerFilter(), by="assistant")
        words = await layer.words_in_bad_answers(AnswerFilter())
        with pytest.raises(datalayer.InvalidRecord):
            await layer.coverage(AnswerFilter(), by="user")
    assert [(one.answers, one.up, one.down, one.share) for one in days] == [
        (3, 1, 1, 0.5),
        (0, 0, 0, None),
        (2, 0, 2, 0),
    ]
    assert [(one.start[:13], one.value, one.down) for one in split if one.answers] == [
        ("2026-03-01T23", "A", 1), ("2026-03-01T23", "B", 0), ("2026-03-03T23", "B", 2),
    ]  # fmt: skip
    assert [(one.value, one.answers, one.reviewed, one.down, one.down_reviewed, one.labels) for one in coverage] == [
        ("B", 3, 0, 2, 0, {}), ("A", 2, 1, 1, 1, {"wrong": 1}),
    ]  # fmt: skip
    assert [(one.word, one.bad, one.others, one.down) for one in words] == [("cannot", 3, 0, 3), ("sorry", 3, 0, 3)]


async def test_common_and_short_words_are_left_out(layer: ChainlitLayer) -> None:
    for text in ("the river is 很长 of course", "the river is 很长 or so", "the 河 is of no use"):
        await talk(layer, answer=text, thumb=0)
    judged = await talk(layer, answer="the mill is of wood")
    for text in ("the capital is Paris", "the capital of France", "the use of it is small", "a river runs"):
        await talk(layer, answer=text)
    with reviewing():
        await layer.put_verdict(Verdict(judged.answer, "wrong"))
        words = {one.word: one for one in await layer.words_in_bad_answers(AnswerFilter())}
    # "the" is in all four bad answers and in three of the others, so it is left out; "is" is too short.
    assert not {"the", "is", "of", "or", "no", "河"} & set(words)
    assert (words["很长"].bad, words["river"].bad, words["river"].others) == (2, 2, 1)
    assert "use" not in words, "as common in the other answers"
    assert (words["mill"].bad, words["mill"].down) == (1, 0), "bad by a verdict only"


NOBODYS: dict[str, Callable[[ChainlitLayer, Turn], Awaitable[Any]]] = {
    "list_answers": lambda layer, _: layer.list_answers(AnswerFilter()),
    "count_answers": lambda layer, _: layer.count_answers(AnswerFilter()),
    "answer_facets": lambda layer, _: layer.answer_facets(),
    "open_thread_for_review": lambda layer, turn: layer.open_thread_for_review(turn.thread),
    "open_element_for_review": lambda layer, turn: layer.open_element_for_review(turn.thread, new_id()),
    "element_link_for_review": lambda layer, turn: layer.element_link_for_review(turn.thread, new_id(), 60),
    "put_verdict": lambda layer, turn: layer.put_verdict(Verdict(turn.answer, "wrong")),
    "remove_verdict": lambda layer, turn: layer.remove_verdict(turn.answer),
    "answers_of_copies": lambda layer, turn: layer.answers_of_copies([turn.thread]),
    "verdict_history": lambda layer, turn: layer.verdict_history(turn.thread),
    "satisfaction": lambda layer, _: layer.satisfaction("2026-01-01", "2026-02-01", "day", "UTC"),
    "coverage": lambda layer, _: layer.coverage(AnswerFilter()),
    "agreement": lambda layer, _: layer.agreement(),
    "words_in_bad_answers": lambda layer, _: layer.words_in_bad_answers(AnswerFilter()),
    "fill_queue": lambda layer, _: layer.fill_queue(percent=100),
    "enqueue_answers": lambda layer, turn: layer.enqueue_answers([turn.answer]),
    "take_next": lambda layer, _: layer.take_next(),
    "keep_lock": lambda layer, turn: layer.keep_lock(turn.answer),
    "release_item": lambda layer, turn: layer.release_item(turn.answer),
    "list_queue": lambda layer, _: layer.list_queue(),
    "review_progress": lambda layer, _: layer.review_progress(),
    "list_views": lambda layer, _: layer.list_views(),
    "put_view": lambda layer, _: layer.put_view("mine", "thumb=down"),
    "remove_view": lambda layer, _: layer.remove_view(new_id()),
    "mark_thread": lambda layer, turn: layer.mark_thread(turn.thread, "flag"),
    "unmark_thread": lambda layer, turn: layer.unmark_thread(turn.thread, "flag"),
    "take_over": lambda layer, turn: layer.take_over(turn.thread),
    "link_better_run": lambda layer, turn: layer.link_better_run(turn.thread, turn.answer),
    "export_conversations": lambda layer, _: anext(layer.export_conversations(AnswerFilter())),
    "export_pairs": lambda layer, _: anext(layer.export_pairs(AnswerFilter())),
    "export_fine_tuning": lambda layer, _: anext(layer.export_fine_tuning(AnswerFilter())),
    "list_audit": lambda layer, _: layer.list_audit(),
    "note_call_read": lambda layer, _: layer.note_call_read(new_id()),
    "plan_retention": lambda layer, _: layer.plan_retention({"threads": "2026-01-01"}),
    "apply_retention": lambda layer, _: layer.apply_retention({"threads": "2026-01-01"}),
}


async def test_methods_for_reviewers_refuse_everyone_else(layer: ChainlitLayer, subtests: pytest.Subtests) -> None:
    turn = await talk(layer, thumb=0)
    await layer.set_disabled("rob", True)
    await user_id(layer, "bob")
    # The thread's owner, a disabled reviewer, and a name without an account.
    for method, actor in itertools.product(NOBODYS, ("alice", "bob", None, "rob", "nobody")):
        with (
            subtests.test(method=method, actor=actor),
            datalayer.acting_as(actor),
            pytest.raises(datalayer.Forbidden),
        ):
            await NOBODYS[method](layer, turn)


@pytest.mark.parametrize("method", ["list_audit", "note_call_read", "plan_retention", "apply_retention"])
async def test_methods_for_admins_refuse_reviewers(layer: ChainlitLayer, method: str) -> None:
    turn = await talk(layer)
    with reviewing(), pytest.raises(datalayer.Forbidden):
        await NOBODYS[method](layer, turn)
    with datalayer.acting_as("ada"):
        await NOBODYS[method](layer, turn)


async def test_a_search_with_many_words_covers_many_users(layer: ChainlitLayer) -> None:
    text = " ".join(f"{at:02}".ljust(64, "x") for at in range(60))
    row = {"metadata": {}, "createdAt": "2026-01-01"}
    async with layer.database.write() as connection:
        await connection.execute(
            insert(users), [row | {"id": new_id(), "identifier": f"user {at}"} for at in range(1_000)]
        )
    turn = await talk(layer, "zoe", text)
    with reviewing():
        assert [row.step_id for row in (await layer.list_answers(AnswerFilter(words=text))).rows] == [turn.answer]
