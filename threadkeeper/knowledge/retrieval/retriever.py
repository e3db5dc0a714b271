"""Finds passages for a question in the current training of an assistant.

Where the server has pgvector it searches the vectors; elsewhere each process keeps the signs of the trainings that it
uses (`sign_index`), within a bound. Passages with rare words of the question are candidates as well, however far their
vectors are.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.knowledge import Passage, PassageVector, Training
from threadkeeper.knowledge.embedding.base import EmbeddingPurpose, Embeds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from threadkeeper.knowledge.retrieval.background import Background
    from threadkeeper.knowledge.retrieval.sign_index import SignIndex

MOST_PASSAGES = 10
# So many of the best get their final scores.
_SETTLED = 20
_RANKED = 100
_NEAR_VECTORS = 200
_BY_WORDS = 100
# Each takes one or two megabytes.
_KEPT_BACKGROUNDS = 32
# The words of more characters take more than some milliseconds.
_LONG = 10_000
_MEMORY_BYTES = 256 * 1024 * 1024


class PassageStore(Protocol):
    """The part of the data layer that a search reads."""

    async def current_training(self, assistant_id: str) -> Training | None: ...
    async def word_counts(self, training_id: str) -> bytes | None: ...
    def training_vectors(self, training: Training) -> AsyncIterator[list[PassageVector]]: ...
    async def nearest_passages(self, training: Training, vector: bytes, count: int) -> list[tuple[int, float]]: ...
    async def passage_vectors(self, training: Training, ids: Sequence[int]) -> list[PassageVector]: ...
    async def passages_with_words(self, training: Training, words: Sequence[str], limit: int) -> list[int]: ...
    async def passage_hashes(self, ids: Sequence[int]) -> dict[int, bytes]: ...
    async def get_passages(self, scores: Sequence[tuple[int, float]]) -> list[Passage]: ...
    async def bill_training(self, training_id: str, tokens: int | None, cost: Decimal | None) -> None: ...


class NothingTrained(LookupError):
    """The assistant has no training that answers."""


class OtherModel(Exception):
    """The training was made with another embedding model than the one of now; the assistant must be trained again."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What a search found.

    Args:
        training: that was searched.
        passages: the best, with scores at or above the threshold; none: the assistant does not know.
        below: the best that are below the threshold, as a try-out shows them.
    """

    training: Training
    passages: tuple[Passage, ...]
    below: tuple[Passage, ...]


class Retriever:
    """Searches for all assistants of this process.

    Args:
        store: the data layer.
        has_vector_search: whether `prepare_vectors` found pgvector.
        memory_bytes: of the indexes of all trainings together.
    """

    def __init__(
        self, store: PassageStore, *, has_vector_search: bool = False, memory_bytes: int = _MEMORY_BYTES
    ) -> None:
        self._store, self._has_vector_search, self._memory_bytes = store, has_vector_search, memory_bytes
        self._indexes: OrderedDict[str, SignIndex] = OrderedDict()
        self._backgrounds: OrderedDict[str, Background] = OrderedDict()
        self._building = asyncio.Lock()

    async def find(
        self,
        assistant_id: str,
        question: str,
        embedder: Embeds,
        purpose: EmbeddingPurpose,
        *,
        limit: int = MOST_PASSAGES,
        threshold: float | None = None,
    ) -> Retrieved:
        """The passages that may answer a question, best first.

        Args:
            limit: of passages, at most ten.
            threshold: in place of that of the training.

        Raises:
            NothingTrained: no training has succeeded.
            OtherModel: the training has vectors of another model.
            EmbeddingError: the question cannot be embedded.
        """
        from threadkeeper.knowledge.retrieval.ranking import settled  # noqa: PLC0415  NumPy

        with acting_as(SYSTEM):
            training = await self._store.current_training(assistant_id)
            if training is None or training.settings is None:
                raise NothingTrained(f"the assistant {assistant_id} has no training that answers")
            if training.settings.model != embedder.model.name:
                raise OtherModel(f"the training {training.id} was made with the model {training.settings.model}")
            embedded = await embedder.embed([question], "question", purpose)
            vector = embedded.vectors[0]
            if len(vector) != training.settings.dimensions:
                raise OtherModel(f"the training {training.id} has vectors of {training.settings.dimensions} dimensions")
            best = (await self.scored(training, question, vector))[:_SETTLED]
            found = await self._store.get_passages(best)
            allowance = (await self._background(training)).allowance(vector)
        passages = settled(found, question, allowance)[: min(limit, MOST_PASSAGES)]
        least = threshold if threshold is not None else training.threshold or 0.0
        return Retrieved(
            training,
            tuple(passage for passage in passages if passage.score >= least),
            tuple(passage for passage in passages if passage.score < least),
        )

    async def scored(self, training: Training, text: str, vector: NDArray[np.float32]) -> list[tuple[int, float]]:
        """The ids of passages with their scores before they are `settled`, best first; the system must act."""
        from threadkeeper.knowledge.retrieval.ranking import (  # noqa: PLC0415  NumPy
            CHANCE_SINCE,
            Question,
            by_chance,
            fused,
            nearness,
        )

        words = (await self._background(training)).words
        # A whole document that was pasted as a question would hold up the event loop.
        question = await asyncio.to_thread(Question, text, words) if len(text) > _LONG else Question(text, words)
        # What does not wait for each other is asked at once: a busy server takes its time for each answer.
        near, by_words = await asyncio.gather(
            self._near(training, vector),
            self._store.passages_with_words(training, question.rare_words(_BY_WORDS), _BY_WORDS),
        )
        vectors, hashes = await self._read(training, [*near[:_RANKED], *by_words])
        if len(hashes) < len(vectors) and self._indexes.pop(training.id, None) is not None:
            # Passages of a source that was deleted since would take the places of others in the index.
            near = await self._near(training, vector)
            vectors, hashes = await self._read(training, [*near[:_RANKED], *by_words])
        assert training.settings is not None
        is_corrected = training.settings.chunker >= CHANCE_SINCE
        nearnesses = {
            passage: nearness(its_vectors, vector) - (by_chance(len(its_vectors)) if is_corrected else 0.0)
            for passage, its_vectors in vectors.items()
        }
        return fused(nearnesses, hashes, question)

    async def _read(
        self, training: Training, passages: Sequence[int]
    ) -> tuple[dict[int, NDArray[np.float32]], dict[int, bytes]]:
        """The vectors of passages, and the hashes of their words."""
        import numpy as np  # noqa: PLC0415

        ids = list(dict.fromkeys(passages))
        if not self._has_vector_search:
            vectors = (await self._index(training)).vectors(ids)
            return vectors, await self._store.passage_hashes(list(vectors))
        rows, hashes = await asyncio.gather(self._store.passage_vectors(training, ids), self._store.passage_hashes(ids))
        parts: dict[int, list[PassageVector]] = {}
        for one in rows:
            parts.setdefault(one.id, []).append(one)
        return {
            passage: np.stack(
                [
                    np.frombuffer(one.vector, "<f2").astype(np.float32)
                    for one in sorted(its_parts, key=lambda one: one.part)
                ]
            )
            for passage, its_parts in parts.items()
        }, hashes

    async def _near(self, training: Training, vector: NDArray[np.float32]) -> list[int]:
        """The passages of the nearest vectors: as many as a search may ask for, if the training has them."""
        count = _NEAR_VECTORS
        while True:
            if self._has_vector_search:
                found = await self._store.nearest_passages(training, vector.astype("<f2").tobytes(), count)
            else:
                found = (await self._index(training)).nearest(vector, 2 * count)
            near = list(dict.fromkeys(passage for passage, _ in found))
            # A passage of many sentences has many vectors, which can be nearer than those of all others.
            if len(near) >= MOST_PASSAGES or len(found) < count:
                return near
            count *= 4

    async def _index(self, training: Training) -> SignIndex:
        if (found := self._indexes.get(training.id)) is not None:
            self._indexes.move_to_end(training.id)
            return found
        async with self._building:
            if training.id not in self._indexes:
                self._indexes[training.id] = await self._built(training)
                while len(self._indexes) > 1 and sum(one.memory for one in self._indexes.values()) > self._memory_bytes:
                    self._indexes.popitem(last=False)
            return self._indexes[training.id]

    async def _built(self, training: Training) -> SignIndex:
        from threadkeeper.knowledge.retrieval.sign_index import SignIndex  # noqa: PLC0415

        assert training.settings is not None
        index = SignIndex(training.settings.dimensions)
        async for page in self._store.training_vectors(training):
            await asyncio.to_thread(index.add, [one.id for one in page], b"".join(one.vector for one in page))
        await asyncio.to_thread(index.finish)
        return index

    def note_background(self, training: Training, background: Background) -> None:
        """Use it for a training that has not stored its own yet."""
        self._backgrounds[training.id] = background

    async def _background(self, training: Training) -> Background:
        from threadkeeper.knowledge.retrieval.background import Background  # noqa: PLC0415

        assert training.settings is not None
        if training.id not in self._backgrounds:
            stored = await self._store.word_counts(training.id)
            background = Background.unpacked(stored, training.settings.dimensions) if stored else Background()
            self._backgrounds[training.id] = background
            while len(self._backgrounds) > _KEPT_BACKGROUNDS:
                self._backgrounds.popitem(last=False)
        return self._backgrounds[training.id]
