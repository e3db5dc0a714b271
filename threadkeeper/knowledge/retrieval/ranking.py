"""The score of a passage for a question: how near its vectors are, and a part of how much of the question's words it
contains.

Nearness is the cosine of the whole passage, mixed with that of its nearest window: the first knows what the passage is
about, the second finds a sentence in it. A passage of many windows has a near one by chance, so it loses a little.

The share of words is weighted by how rare they are (idf), so that a name or a code decides and "the" does not. Measured
with paraphrases, names and codes in English and Chinese, this is better than vectors alone and than fusing two ranks
(`docs/benchmarks.md`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from datalayer.history.search_tokens import fold, runs, tokens
from datalayer.records.knowledge import Passage
from threadkeeper.knowledge.retrieval.words import WordCounts, word_hash

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORDS_WEIGHT = 0.3
WINDOW_WEIGHT = 0.6
CHANCE_WEIGHT = 0.04
CHANCE_SINCE = 3
"""The version of the chunker since which what is near by chance is taken away: the thresholds of trainings from before
are for scores without that."""
SAME_DOCUMENT = 0.01
"""What a passage loses for each better one of its document, up to three: of passages that are about as near, another
document tells more."""
_MOST_OF_DOCUMENT = 3
OTHER_SCRIPT = 0.05
"""What a passage in another script than the question's loses: a score gives it to the language of the question, if two
passages say the same, and far passages of another language are near by chance."""
# A text with a larger share of such characters is written in a script without spaces; a few are quoted in any text.
_UNSPACED_SHARE = 0.1
# So many characters tell the script of a text.
_SAMPLE = 5_000
# A word in more passages than this share finds too many of them.
_COMMON_SHARE = 0.02
_LEAST_COMMON = 50


def nearness(vectors: NDArray[np.float32], question: NDArray[np.float32]) -> float:
    """How near a passage is to a question. `vectors`: of the passage, a row for each part, the whole one first."""
    cosines = vectors @ question
    return float((1 - WINDOW_WEIGHT) * cosines[0] + WINDOW_WEIGHT * cosines.max())


def by_chance(vectors: int) -> float:
    """How much nearer the nearest of so many vectors is than one of them, when none of them answers: 0 for one."""
    return CHANCE_WEIGHT * math.log(vectors)


class Question:
    """The words of a question, weighed by the passages of a training."""

    def __init__(self, text: str, counts: WordCounts) -> None:
        self.words = tokens(text)
        self._hashes: NDArray[np.uint32] = np.fromiter(map(word_hash, self.words), np.uint32)
        self._weights = counts.weights(self._hashes)
        self._counts = counts.count(self._hashes)
        self._most = max(_LEAST_COMMON, int(counts.passages * _COMMON_SHARE))

    def rare_words(self, most_passages: int) -> list[str]:
        """The rarest words that some passages contain: as many as lead to about `most_passages` passages."""
        found, left = list[str](), most_passages
        usable = np.flatnonzero((self._counts > 0) & (self._counts <= self._most))
        for at in usable[np.argsort(self._counts[usable], kind="stable")]:
            left -= int(self._counts[at])
            if found and left < 0:
                break
            found.append(self.words[at])
        return found

    def coverage(self, hashes: Sequence[bytes]) -> NDArray[np.float64]:
        """The weighted share of the question's words in passages with these hashes, from 0 to 1."""
        total = self._weights.sum()
        if not total or not hashes:
            return np.zeros(len(hashes))
        # All passages at once: a call for each takes thirty times as long, and a training looks a hundred questions up.
        wanted, places = np.unique(self._hashes, return_inverse=True)
        weights = np.bincount(places, self._weights)
        there = np.frombuffer(b"".join(hashes), "<u4")
        passages = np.repeat(np.arange(len(hashes)), [len(one) // 4 for one in hashes])
        at = np.minimum(np.searchsorted(wanted, there), len(wanted) - 1)
        is_wanted = wanted[at] == there
        found = np.bincount(passages[is_wanted], weights[at[is_wanted]], len(hashes))
        share: NDArray[np.float64] = found / total
        return share


def fused(near: Mapping[int, float], hashes: Mapping[int, bytes], question: Question) -> list[tuple[int, float]]:
    """The passages with their scores, best first."""
    known = [passage for passage in near if passage in hashes]
    shares = question.coverage([hashes[passage] for passage in known])
    scored = [
        (passage, near[passage] + WORDS_WEIGHT * float(share)) for passage, share in zip(known, shares, strict=True)
    ]
    return sorted(scored, key=lambda one: -one[1])


def settled(passages: Sequence[Passage], question: str, allowance: float) -> list[Passage]:
    """The passages with their final scores, from 0, best first.

    Args:
        allowance: for the question, of the background of the training.
    """
    unspaced = _is_unspaced(question)
    has_own = {passage.id for passage in passages if _is_unspaced(passage.text) == unspaced}
    scored = [
        replace(
            passage,
            score=passage.score + allowance - (OTHER_SCRIPT if has_own and passage.id not in has_own else 0.0),
        )
        for passage in passages
    ]
    of_document: Counter[str] = Counter()
    ranked = list[Passage]()
    for passage in sorted(scored, key=lambda passage: -passage.score):
        better = min(of_document[passage.document_id], _MOST_OF_DOCUMENT)
        of_document[passage.document_id] += 1
        ranked.append(replace(passage, score=max(0.0, passage.score - better * SAME_DOCUMENT)))
    return sorted(ranked, key=lambda passage: -passage.score)


def _is_unspaced(text: str) -> bool:
    lengths = [0, 0]
    for unspaced, run, _ in runs(fold(text[:_SAMPLE])):
        lengths[unspaced] += len(run)
    return lengths[True] > _UNSPACED_SHARE * sum(lengths)
