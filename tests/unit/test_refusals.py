"""What a stored thread says about refused questions, and what the next context leaves out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.test_history import PNG, assistant, brief, context, user
from threadkeeper.chat.attachments.reader import Attachment
from threadkeeper.chat.context.history import MESSAGES_ABSENT, Question
from threadkeeper.chat.context.reductions import (
    NOTHING,
    Reduction,
    is_proven,
    known_reduction,
    next_reduction,
    searches,
)
from threadkeeper.chat.context.refusals import REFUSED
from threadkeeper.chat.model import ModelError

ERROR = {"isError": True, "metadata": {"status": "error", "model": "m"}}
CAT = [{"id": "e1", "forId": "step-1", "name": "cat.png", "type": "image"}]


def failed(number: int, text: str, kind: str) -> dict[str, Any]:
    return user(number, text, metadata={"failed": kind})


def answered(number: int, text: str, model: str = "m", **more: Any) -> dict[str, Any]:
    return assistant(number, text, metadata={"status": "complete", "model": model, **more})


async def load_cat(_element: Any) -> Attachment:
    return PNG


@pytest.mark.parametrize("kind", [*sorted(REFUSED), "timeout", "over_limit"])
async def test_a_refused_question_is_not_sent_again(kind: str) -> None:
    steps = [user(1, "one"), answered(2, "two"), failed(3, "bad", kind), assistant(4, "No.", **ERROR)]
    assert brief((await context(steps)).messages) == [("user", "one"), ("assistant", "two"), ("user", "now?")]


@pytest.mark.parametrize("kind", ["server", "rate_limit", "unreachable", "quota", "auth", "not_found", "in_flight"])
async def test_a_question_that_failed_for_another_reason_is_sent_again(kind: str) -> None:
    steps = [failed(1, "one", kind), assistant(2, "No.", **ERROR)]
    built = await context(steps)
    assert brief(built.messages) == [("user", "one"), ("user", "now?")]
    assert built.has_doubtful


async def test_an_old_thread_without_marks_leaves_failed_questions_out() -> None:
    """Threads from before the mark have only the error message. A question without one was never answered."""
    steps = [
        user(1, "bad", metadata=None),
        assistant(2, "The model server rejected this request.", **ERROR),
        user(3, "half"),
        assistant(4, "half an ans", metadata={"status": "cut"}),
        assistant(5, "The connection broke.", **ERROR),
        user(6, "lost"),
    ]
    assert [text for _, text in brief((await context(steps)).messages)] == ["half", "half an ans", "lost", "now?"]


async def test_a_broken_answer_to_a_filtered_question_is_left_out_too() -> None:
    steps = [
        failed(1, "bad", "filtered"),
        assistant(2, "It beg", metadata={"status": "cut"}),
        assistant(3, "x", **ERROR),
    ]
    assert brief((await context(steps)).messages) == [("user", "now?")]


async def test_a_question_that_was_answered_after_all_is_sent() -> None:
    steps = [failed(1, "one", "filtered"), answered(2, "two")]
    assert brief((await context(steps)).messages)[:2] == [("user", "one"), ("assistant", "two")]


async def test_a_long_refused_question_does_not_hide_the_older_ones() -> None:
    steps = [user(1, "one"), answered(2, "two"), failed(3, "word " * 5000, "too_long"), assistant(4, "No.", **ERROR)]
    built = await context(steps, window=1000)
    assert (brief(built.messages)[0], built.left_out) == (("user", "one"), 0)


async def test_dropped_files_are_not_sent_again() -> None:
    steps = [user(1, "look", metadata={"without_files": True}), answered(2, "two")]
    assert brief((await context(steps, elements=CAT, load=load_cat)).messages)[0] == ("user", "look")


async def test_pictures_that_the_model_refuses_are_marked() -> None:
    steps = [user(1, "look"), answered(2, "two", "other")]
    built = await context(steps, elements=CAT, load=load_cat)
    assert (built.pictures, built.pictures_left_out, len(built.earlier_ids)) == (1, False, 2)
    built = await context(steps, elements=CAT, load=load_cat, reduction=Reduction(pictures=True))
    assert (built.pictures, built.pictures_left_out) == (0, True)
    assert "this model cannot see pictures" in str(built.messages[0]["content"])
    own = await context(steps, Question("and this?", [PNG]), reduction=Reduction(pictures=True))
    assert "image_url" in str(own.messages[-1]["content"]), "the picture of the question itself is sent"


async def test_a_reduction_begins_at_its_question_and_has_its_window() -> None:
    steps = [user(1, "one"), answered(2, "two"), user(3, "three"), answered(4, "four")]
    note = ("user", MESSAGES_ABSENT)
    built = await context(steps, reduction=Reduction(before="step-3"))
    assert brief(built.messages)[:2] == [note, ("user", "three")]
    alone = await context(steps, Question("now?", step_id="step-5"), reduction=Reduction(before="step-5"))
    assert brief(alone.messages) == [note, ("user", "now?")]
    alone = await context([], Question("now?", step_id="step-5"), reduction=Reduction(before="step-5"))
    assert brief(alone.messages) == [("user", "now?")], "nothing is left out"
    steps = [user(1, "word " * 500), answered(2, "word " * 500), user(3, "three"), answered(4, "four")]
    built = await context(steps, reduction=Reduction(window=1000))
    assert (brief(built.messages)[:2], built.left_out) == ([note, ("user", "three")], 2)


def test_the_newest_answer_of_a_model_says_what_it_left_out() -> None:
    reduction = Reduction(pictures=True, before="step-3", spans=(("a", "b"),), window=900)
    steps = [answered(1, "a", "m", **reduction.facts()), answered(2, "b", "other")]
    assert known_reduction(steps, "m") == reduction
    assert known_reduction(steps, "other") == NOTHING
    assert known_reduction([*steps, answered(3, "c", "m")], "m") == NOTHING
    assert (
        known_reduction([answered(1, "a", "m", left_out={"before": 5, "spans": [["a"], 3], "window": "x"})], "m")
        == NOTHING
    )
    assert NOTHING.facts() == {}


def test_a_context_is_proven_by_an_answer_of_the_same_model() -> None:
    proven = [user(1, "one"), answered(2, "two")]
    assert is_proven(proven, "m")
    assert not is_proven(proven, "other")
    refused = [*proven, failed(3, "bad", "filtered"), assistant(4, "No.", **ERROR)]
    assert not is_proven(refused, "m"), "perhaps the thread is the cause, not the question"
    assert not is_proven([*proven, failed(3, "lost", "server")], "m")
    assert not is_proven([user(1, "one"), assistant(2, "tw", metadata={"status": "filtered", "model": "m"})], "m")


def reduced(kind: Any, now: Reduction = NOTHING, **facts: Any) -> Reduction | None:
    values: dict[str, object] = {key: facts.pop(key) for key in ("limit", "status", "is_sent") if key in facts}
    defaults = {
        "question_id": "q",
        "window": 8000,
        "earlier": 4,
        "earlier_pictures": 0,
        "has_doubtful": False,
        "has_own_pictures": False,
    }
    return next_reduction(ModelError(kind, "", values), now, **{**defaults, **facts})


def test_less_of_the_thread_is_sent_after_each_refusal() -> None:
    pictures, doubtful = Reduction(pictures=True), Reduction(doubtful=True)
    assert reduced("no_pictures", earlier_pictures=1) == pictures
    assert reduced("refused", earlier_pictures=1) == pictures
    assert reduced("server", earlier_pictures=1, status=500) == pictures
    assert reduced("refused", has_doubtful=True) == doubtful
    assert reduced("refused", doubtful, has_doubtful=True) is None
    assert reduced("filtered") is reduced("refused") is None


THREAD = [
    user(1, "one"),
    answered(2, "two"),
    user(3, "three"),
    answered(4, "four"),
    user(5, "five"),
    answered(6, "six"),
]


def searched(kind: Any, now: Reduction = NOTHING, **facts: Any) -> list[Reduction]:
    error = ModelError(kind, "", {"status": facts.pop("status", 400)})
    return searches(error, now, **{"question_id": "q", "earlier": THREAD, "proven": False, **facts})


def test_the_newest_answer_is_suspected_first_where_all_else_was_answered() -> None:
    alone, newest = Reduction(before="q"), (("step-6", "step-6"),)
    assert searched("filtered", proven=True) == [Reduction(spans=newest), alone]
    assert searched("refused", proven=True) == [Reduction(spans=newest), alone]
    known = Reduction(spans=(("step-2", "step-2"),), window=900)
    assert searched("filtered", known, proven=True)[0] == Reduction(spans=(*known.spans, *newest), window=900)


def test_a_thread_is_searched_by_halves() -> None:
    alone = Reduction(before="q")
    assert searched("filtered") == [Reduction(before="step-3"), Reduction(spans=(("step-3", "step-6"),)), alone]
    assert searched("refused", earlier=THREAD[:2]) == [alone]
    assert searched("refused", earlier=[answered(2, "two")]) == [alone]
    assert searched("refused", earlier=[]) == [], "the question alone is the cause"


def test_a_failure_is_searched_for_in_the_thread_when_it_stays() -> None:
    """500 can be caused by a message. If all questions without an answer were left out, it is perhaps an answer."""
    doubtful, newest = Reduction(doubtful=True), (("step-6", "step-6"),)
    found = [Reduction(doubtful=True, spans=newest), Reduction(doubtful=True, before="q")]
    assert searched("server", doubtful, status=500) == found
    assert searched("server", doubtful, status=503) == searched("server", status=500) == []
    assert searched("timeout", doubtful) == []


def test_a_refusal_of_the_question_itself_is_final() -> None:
    assert reduced("refused", earlier=0) is None
    assert reduced("no_pictures", earlier_pictures=1, has_own_pictures=True) is None
    assert reduced("no_pictures", earlier_pictures=1) is not None, "its file is a text"
    assert reduced("picture_refused") is None


@pytest.mark.parametrize("kind", ["auth", "quota", "rate_limit", "timeout", "over_limit", "unpriced"])
def test_other_errors_are_not_blamed_on_the_thread(kind: str) -> None:
    assert reduced(kind, earlier_pictures=1, has_doubtful=True) is None
    assert reduced("server", earlier_pictures=1, status=503) is None
    assert reduced("unreachable", has_doubtful=True, is_sent=False) is None


@pytest.mark.parametrize("kind", ["server", "cut", "unreachable", "empty"])
def test_a_failure_can_be_caused_by_a_question_without_an_answer(kind: str) -> None:
    assert reduced(kind) is None
    assert reduced(kind, has_doubtful=True) == Reduction(doubtful=True)
    assert reduced(kind, Reduction(doubtful=True), has_doubtful=True) is None


async def test_a_filtered_answer_and_its_question_are_doubtful() -> None:
    filtered = {"status": "filtered", "model": "m"}
    steps = [user(1, "one"), answered(2, "two"), user(3, "odd"), assistant(4, "It beg", metadata=filtered)]
    assert (await context(steps)).has_doubtful
    built = await context(steps, reduction=Reduction(doubtful=True))
    assert [text for _, text in brief(built.messages)] == [MESSAGES_ABSENT, "one", "two", "now?"]


async def test_a_message_without_content_is_not_sent() -> None:
    steps = [user(1, "", metadata={"without_files": True}), answered(2, "two"), user(3, " "), answered(4, "four")]
    built = await context(steps, elements=CAT, load=load_cat)
    assert brief(built.messages) == [("assistant", "two"), ("assistant", "four"), ("user", "now?")]
    assert built.left_out == 0


def test_a_window_shrinks_to_what_the_server_names_and_then_by_half() -> None:
    first = reduced("too_long", limit=4000)
    assert first == Reduction(window=3600)
    second = reduced("too_long", first, limit=4000, window=3600)
    assert second == Reduction(window=1800)
    assert reduced("too_long", second, limit=4000, window=1800) == Reduction(window=1800, before="q")
    unnamed = reduced("too_long")
    assert unnamed == Reduction(window=4000)
    assert reduced("too_long", unnamed, window=4000) == Reduction(window=4000, before="q")
