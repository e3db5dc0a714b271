"""Finds the score below which a passage answers nothing, from the texts of a training itself.

One number cannot serve: models differ, and so do texts. The questions below are about everyday matters that hardly any
collection of texts is about, so the best scores that they reach in it show how near a passage comes by chance. The
threshold is above most of them. A collection that does answer some of them gets the default of its model at least.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.records.knowledge import Training
from threadkeeper.knowledge.embedding.base import EmbeddingPurpose, Embeds
from threadkeeper.knowledge.retrieval.retriever import PassageStore, Retriever

if TYPE_CHECKING:
    from threadkeeper.knowledge.retrieval.words import WordCounts

_SHARE = 0.8
_QUESTIONS = """
What is the boiling point of mercury?
Which river flows through Budapest?
How do I tune a guitar?
Who painted the ceiling of the Sistine Chapel?
When do swallows fly south?
Is a tomato a fruit or a vegetable?
How many strings does a cello have?
What causes an eclipse of the moon?
How do I whip cream without a mixer?
Which king had six wives?
What is the square root of two?
How long does a cold last?
水银的沸点是多少？
多瑙河流过哪些城市？
吉他怎么调音？
蒙娜丽莎是谁画的？
燕子什么时候飞往南方？
西红柿是水果还是蔬菜？
大提琴有几根弦？
月食是怎么形成的？
奶油怎么打发？
唐朝有多少位皇帝？
二的平方根是多少？
普通感冒要多久才好？
"""


async def calibrated(
    store: PassageStore, embedder: Embeds, training: Training, purpose: EmbeddingPurpose, *, has_vector_search: bool
) -> tuple[WordCounts, float]:
    """The words of a training that runs, and its threshold. Raises EmbeddingError."""
    from threadkeeper.knowledge.retrieval.words import WordCounts  # noqa: PLC0415  NumPy, at the first use

    counts, last = WordCounts(), -1
    async for page in store.training_vectors(training):
        ids = [passage for passage in dict.fromkeys(one.id for one in page) if passage != last]
        last = page[-1].id
        found = await store.passage_hashes(ids)
        counts.add(found[passage] for passage in ids if passage in found)
    if not counts.passages:
        return counts, embedder.model.threshold
    retriever = Retriever(store, has_vector_search=has_vector_search)
    retriever.note_word_counts(training, counts)
    questions = _QUESTIONS.split("\n")[1:-1]
    embedded = await embedder.embed(questions, "passage", purpose)
    await store.bill_training(training.id, embedded.tokens, embedded.cost)
    reached = [
        (await retriever.scored(training, question, vector))[0][1]
        for question, vector in zip(questions, embedded.vectors, strict=True)
    ]
    return counts, max(sorted(reached)[int(_SHARE * len(reached))], embedder.model.threshold)
