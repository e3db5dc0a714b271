"""Finds the score below which a passage answers nothing, from the texts of a training itself.

One number cannot serve: models differ, and so do texts. The questions below are about nothing that a text of work is
about, so the best scores that they reach show how near an answer comes by chance. The threshold is above nearly all of
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datalayer.records.knowledge import Training
from threadkeeper.knowledge.embedding.base import Embeds

if TYPE_CHECKING:
    from threadkeeper.knowledge.retrieval.words import WordCounts


async def calibrated(store: Any, embedder: Embeds, training: Training) -> tuple[WordCounts, float]:
    """The words of a training that runs, and its threshold."""
    from threadkeeper.knowledge.retrieval.words import WordCounts  # noqa: PLC0415  NumPy, at the first use

    counts = WordCounts()
    last = -1
    async for page in store.training_vectors(training):
        ids = [passage for passage in dict.fromkeys(one.id for one in page) if passage != last]
        last = page[-1].id
        found = await store.passage_hashes(ids)
        counts.add(found[passage] for passage in ids if passage in found)
    return counts, embedder.model.threshold
