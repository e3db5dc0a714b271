"""Vectors are found by their signs as they are found exactly, and rare words of a question decide."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from datalayer.records.knowledge import Passage
from threadkeeper.knowledge.retrieval.background import Background
from threadkeeper.knowledge.retrieval.everyday import QUESTIONS, Everyday
from threadkeeper.knowledge.retrieval.ranking import (
    OTHER_SCRIPT,
    SAME_DOCUMENT,
    Question,
    by_chance,
    fused,
    nearness,
    settled,
)
from threadkeeper.knowledge.retrieval.sign_index import SignIndex
from threadkeeper.knowledge.retrieval.words import WordCounts, hashes_of

TEXTS = [
    "The harbour opens at six in the morning.",
    "The crane is booked with form HC-7 at the office.",
    "The cats are fed by the night watch.",
    "图书馆早上九点开门。",
]


def built(vectors: np.ndarray[tuple[int, int], np.dtype[np.float16]], ids: list[int]) -> SignIndex:
    index = SignIndex(vectors.shape[1])
    for start in range(0, len(ids), 700):
        index.add(ids[start : start + 700], vectors[start : start + 700].tobytes())
    index.finish()
    return index


@pytest.mark.parametrize("dimensions", [64, 100, 512])
def test_signs_find_what_an_exact_search_finds(dimensions: int) -> None:
    chance = np.random.default_rng(3)
    centres = chance.normal(size=(30, dimensions))
    # All lie on one side of the origin, as vectors of real models do.
    vectors = centres[chance.integers(0, 30, 3_000)] + 0.7 * chance.normal(size=(3_000, dimensions)) + 1.0
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f2")
    index = built(vectors, list(range(10, 3_010)))
    found, expected = 0, 0
    for at in range(0, 3_000, 100):
        question = vectors[at].astype(np.float32)
        exact = np.argsort(-(vectors.astype(np.float32) @ question))[:10] + 10
        nearest = index.nearest(question)
        assert len(nearest) == 400
        assert [score for _, score in nearest] == sorted((score for _, score in nearest), reverse=True)
        found += len({one for one, _ in nearest[:10]} & set(exact.tolist()))
        expected += 10
    assert found / expected >= 0.99
    assert index.memory < vectors.nbytes / 5


def test_the_vectors_of_a_passage_stand_together() -> None:
    vectors = np.eye(4, 64, dtype="<f2")
    index = built(vectors, [7, 7, 9, 12])
    found = index.vectors([9, 7, 8])
    assert {one: its.shape for one, its in found.items()} == {9: (1, 64), 7: (2, 64)}
    assert nearness(found[7], vectors[1].astype(np.float32)) == pytest.approx(0.6)
    assert nearness(found[7], vectors[0].astype(np.float32)) == pytest.approx(1)
    assert built(np.zeros((0, 64), "<f2"), []).nearest(vectors[0].astype(np.float32)) == []


def test_words_are_worth_more_the_rarer_they_are_and_counts_are_stored() -> None:
    counts = WordCounts()
    counts.add(map(hashes_of, TEXTS))
    again, rest = WordCounts.unpacked(counts.packed() + b"more")
    assert rest == b"more"
    assert again.passages == 4
    hashes = np.concatenate([np.frombuffer(hashes_of(word), "<u4") for word in ("the", "crane", "zebra")])
    assert again.count(hashes).tolist() == [3, 1, 0]
    assert np.all(np.diff(again.weights(hashes)) > 0)


def test_a_code_decides_between_passages_that_are_equally_near() -> None:
    counts = WordCounts()
    counts.add(map(hashes_of, TEXTS))
    hashes = dict(enumerate(map(hashes_of, TEXTS)))
    question = Question("What is form HC-7 for?", counts)
    ranked = fused(dict.fromkeys(hashes, 0.2), hashes, question)
    assert ranked[0][0] == 1
    assert 0.2 < ranked[0][1] <= 0.7
    # A passage that was deleted meanwhile is left out.
    assert [one for one, _ in fused({0: 0.1, 9: 0.9}, hashes, question)] == [0]


def test_rare_words_lead_to_few_passages() -> None:
    counts = WordCounts()
    counts.add([hashes_of("common word")] * 300)
    counts.add([hashes_of("rare one")] * 3)
    counts.add([hashes_of("rarest")])
    question = Question("common rare rarest unknown", counts)
    assert question.rare_words(100) == ["rarest", "rare"]
    assert question.rare_words(2) == ["rarest"]
    assert question.rare_words(0) == ["rarest"], "the rarest is always tried"
    assert Question("…", counts).coverage([hashes_of("x")]).tolist() == [0]


def test_a_question_near_to_an_everyday_matter_must_be_answered_better_than_others() -> None:
    """Two everyday questions are one in two languages; a third is far; the others are not compared with themselves."""
    vectors = np.array([[1, 0, 0], [0.96, 0.28, 0], [0, 0.6, 0.8]], np.float32)
    everyday = Everyday(vectors)
    assert everyday.allowance(vectors[2]) < everyday.allowance(np.array([-1, 0, 0], np.float32))
    own = everyday.own_allowances()
    assert own.sum() == pytest.approx(0, abs=1e-6)
    assert everyday.allowance(vectors[2]) < own[2], "compared with itself, nothing could answer it"
    background = Background(WordCounts(), everyday)
    again = Background.unpacked(background.packed(), 3)
    assert again.allowance(vectors[1]) == pytest.approx(background.allowance(vectors[1]), abs=1e-3)
    # Trainings from before have the words alone: their thresholds are for scores without an allowance.
    before = Background.unpacked(WordCounts().packed(), 3)
    assert (before.everyday, before.allowance(vectors[1])) == (None, 0.0)
    assert len(set(QUESTIONS)) == len(QUESTIONS)


def test_a_passage_in_the_script_of_the_question_goes_before_one_that_says_the_same() -> None:
    english = Passage(1, "d", "Hours", "s", "The library opens at nine, see TS-12.", 0.52)
    chinese = Passage(2, "e", "开放时间", "s", "图书馆早上九点开门，见 TS-12。", 0.5)
    far = Passage(3, "f", "Cats", "s", "The cats sleep.", 0.1)
    assert [one.id for one in settled([english, chinese], "图书馆几点开门？", 0.0)] == [2, 1]
    assert [one.id for one in settled([english, chinese], "When does the library open?", 0.0)] == [1, 2]
    asked = settled([english, chinese, far], "TS-12是什么？", -0.2)
    assert [one.score for one in asked] == pytest.approx([0.3, 0.32 - OTHER_SCRIPT, 0.0])
    # Of a training in another language nothing is taken away.
    assert settled([english, far], "图书馆几点开门？", 0.0)[0].score == english.score


def test_of_passages_that_are_as_near_one_of_another_document_goes_first() -> None:
    same = [Passage(at, "long", "Hours", "s", "The library opens at nine.", 0.52 - at / 1_000) for at in range(6)]
    other = Passage(9, "other", "Cats", "s", "The cats sleep.", 0.512)
    asked = settled([*same, other], "When does it open?", 0.0)
    assert [one.id for one in asked] == [0, 9, 1, 2, 3, 4, 5]
    assert asked[0].score == same[0].score
    assert asked[-1].score == pytest.approx(same[5].score - 3 * SAME_DOCUMENT), "a long document is not lost"
    assert all(one.score == 0 for one in settled([*same, other], "When does it open?", -1.0))


def test_one_of_many_vectors_is_near_by_chance() -> None:
    """The nearest of some vectors of chance is nearer the more there are, as the score takes it away."""
    chance = np.random.default_rng(5)
    question = np.eye(1, 64, dtype=np.float32)[0]

    def nearest(count: int) -> float:
        vectors = chance.normal(size=(400, count, 64)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
        return float(np.mean([nearness(one, question) for one in vectors]))

    assert by_chance(1) == 0
    assert nearest(16) > nearest(4) + 0.03 > nearest(1) + 0.03
    assert nearest(16) - by_chance(16) == pytest.approx(nearest(4) - by_chance(4), abs=0.02)


def test_building_an_index_takes_no_more_memory_for_more_vectors() -> None:
    def most(pages: int) -> int:
        index = SignIndex(512)
        for at in range(pages):
            index.add(range(500 * at, 500 * (at + 1)), bytes(500 * 512 * 2))
        tracemalloc.start()
        index.finish()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - index.memory

    assert most(40) < 2 * most(4)
