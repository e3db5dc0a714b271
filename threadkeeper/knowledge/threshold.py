"""Finds the score below which a passage answers nothing, from the texts of a training itself.

One number cannot serve: models differ, and so do texts. Hardly any collection of texts is about everyday matters
(`retrieval/everyday`), so the best scores that questions about them reach show how near a passage comes by chance. The
threshold is above most of them, each compared with the others. A collection that does answer some of them gets the
default of its model at least.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.records.knowledge import Training
from threadkeeper.knowledge.embedding.base import EmbeddingPurpose, Embeds
from threadkeeper.knowledge.retrieval.retriever import PassageStore, Retriever

if TYPE_CHECKING:
    from threadkeeper.knowledge.retrieval.background import Background

_SHARE = 0.8
_EACH = 3
"""One of so many questions is looked up; that takes milliseconds for each."""
_EMBEDDED_EACH = 1
"""One of so many questions is embedded, and the others are left out: all are. Tests leave most of them out."""


async def calibrated(
    store: PassageStore, embedder: Embeds, training: Training, purpose: EmbeddingPurpose, *, has_vector_search: bool
) -> tuple[Background, float]:
    """The background of a training that runs, and its threshold. Raises EmbeddingError."""
    from threadkeeper.knowledge.retrieval.background import Background  # noqa: PLC0415  NumPy, at the first use
    from threadkeeper.knowledge.retrieval.everyday import QUESTIONS, Everyday  # noqa: PLC0415
    from threadkeeper.knowledge.retrieval.words import WordCounts  # noqa: PLC0415

    counts, last = WordCounts(), -1
    async for page in store.training_vectors(training):
        ids = [passage for passage in dict.fromkeys(one.id for one in page) if passage != last]
        last = page[-1].id
        found = await store.passage_hashes(ids)
        counts.add(found[passage] for passage in ids if passage in found)
    if not counts.passages:
        return Background(counts), embedder.model.threshold
    questions = QUESTIONS[::_EMBEDDED_EACH]
    embedded = await embedder.embed(questions, "passage", purpose)
    await store.bill_training(training.id, embedded.tokens, embedded.cost)
    everyday = Everyday(embedded.vectors)
    background = Background(counts, everyday)
    retriever = Retriever(store, has_vector_search=has_vector_search)
    retriever.note_background(training, background)
    reached = [
        (await retriever.scored(training, questions[at], embedded.vectors[at]))[0][1] + float(allowance)
        for at, allowance in list(enumerate(everyday.own_allowances()))[::_EACH]
    ]
    return background, max(sorted(reached)[int(_SHARE * len(reached))], embedder.model.threshold)
