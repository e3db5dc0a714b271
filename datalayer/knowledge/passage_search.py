"""Public methods of the search in passages: what searches vectors here, and what a search reads."""

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from datalayer.dialects import VectorsMissing
from datalayer.errors import DataLayerError
from datalayer.knowledge import passages, trainings
from datalayer.ownership import acting_user, demand_system
from datalayer.records.knowledge import Passage, PassageVector, Training
from datalayer.store import DataStore

logger = logging.getLogger(__name__)

_PAGE = 2_000
_FILLED_AT_ONCE = 500
# A training with at most so many vectors is searched exactly, through the index of its assistant.
_EXACT_VECTORS = 20_000


@dataclass(frozen=True, slots=True)
class VectorSearch:
    """What searches vectors: "pgvector" or "numpy", and why it is not pgvector."""

    name: str
    reason: str = ""

    def __str__(self) -> str:
        """A sentence without a full stop, for the log."""
        if self.name == "pgvector":
            return "pgvector searches the passages of assistants"
        return f"each process searches the passages of assistants itself, with NumPy: {self.reason}"


class PassageSearch(DataStore):
    """The search in the passages of a training."""

    _vector_search: VectorSearch | None = None

    async def prepare_vectors(self) -> VectorSearch:
        """Find what searches vectors here, and create what it needs. Call it once before trainings and searches."""
        demand_system(acting_user.get(), "the search of vectors")
        if self._vector_search is None:
            self._vector_search = await self._prepare_vectors()
        return self._vector_search

    async def look_for_vectors(self) -> VectorSearch:
        """What would search vectors here. Creates nothing."""
        demand_system(acting_user.get(), "the search of vectors")
        try:
            index = self.database.dialect.vector_index()
            async with self.database.read() as connection:
                await index.look(connection)
        except VectorsMissing as missing_index:
            return VectorSearch("numpy", str(missing_index))
        return VectorSearch("pgvector")

    async def _prepare_vectors(self) -> VectorSearch:
        dialect = self.database.dialect
        try:
            index = dialect.vector_index()
            async with self.database.write() as connection:
                await index.prepare(connection)
            while True:
                async with self.database.write() as connection:
                    missing = await index.unfilled(connection, _FILLED_AT_ONCE)
                    if not missing:
                        break
                    await index.fill(connection, missing)
        except VectorsMissing as missing_index:
            return VectorSearch("numpy", str(missing_index))
        dialect.vectors = index
        return VectorSearch("pgvector")

    async def training_vectors(self, training: Training) -> AsyncIterator[list[PassageVector]]:
        """All vectors of a training in pages, in the order of passages and parts."""
        demand_system(acting_user.get(), "knowledge")
        after = (0, -1)
        while True:
            found = await self.database.query(
                lambda connection, after=after: passages.page(connection, training, after, _PAGE)  # type: ignore[misc]
            )
            if found:
                yield found
            if len(found) < _PAGE:
                return
            after = (found[-1].id, found[-1].part)

    async def word_counts(self, training_id: str) -> bytes | None:
        """The `word_counts` of `finish_training`."""
        demand_system(acting_user.get(), "knowledge")
        return await self.database.query(lambda connection: trainings.word_counts(connection, training_id))

    async def nearest_passages(self, training: Training, vector: bytes, count: int) -> list[tuple[int, float]]:
        """The ids of the passages of the vectors nearest to a vector (float16, little-endian), with their cosines.

        A passage with several near vectors is there several times. Only if `prepare_vectors` found pgvector.
        """
        demand_system(acting_user.get(), "knowledge")
        vectors = self.database.dialect.vectors
        assert vectors is not None
        is_exact = training.counts.vectors <= _EXACT_VECTORS
        return await vectors.nearest(
            self.database, training.assistant_id, training.number, vector, count=count, is_exact=is_exact
        )

    async def passage_vectors(self, training: Training, ids: Sequence[int]) -> list[PassageVector]:
        """All vectors of these passages of a training, in no particular order; those of deleted ones are missing."""
        demand_system(acting_user.get(), "knowledge")
        return await self.database.query(lambda connection: passages.vectors(connection, training, ids))

    async def passages_with_words(self, training: Training, words: Sequence[str], limit: int) -> list[int]:
        """The ids of passages with any of these search tokens, in no particular order."""
        demand_system(acting_user.get(), "knowledge")
        if not words:
            return []
        dialect = self.database.dialect
        return await self.database.query(
            lambda connection: passages.with_words(connection, dialect, training, words, limit)
        )

    async def passage_hashes(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The hashes of the words of these passages (`NewPassage`); those of deleted ones are missing."""
        demand_system(acting_user.get(), "knowledge")
        return await self.database.query(lambda connection: passages.hashes(connection, ids))

    async def get_passages(
        self, scores: Sequence[tuple[int, float]], training: Training | None = None
    ) -> list[Passage]:
        """The passages with these ids and scores, in this order; deleted ones are missing.

        Args:
            training: those that are no part of it are missing too; None if the ids were found in one.
        """
        demand_system(acting_user.get(), "knowledge")
        return await self.database.query(lambda connection: passages.described(connection, scores, training))

    async def index_vectors(self, training_id: str) -> None:
        """Create the index of vectors for a large training, if pgvector searches and it is not there.

        `finish_training` does so; call it for a training whose process ended meanwhile. Without the index, the search
        compares all vectors. An error of the build is logged.
        """
        demand_system(acting_user.get(), "the search of vectors")
        vectors = self.database.dialect.vectors
        if vectors is None:
            return
        try:
            training = await self.database.query(lambda connection: trainings.get(connection, training_id))
            if training is None or training.settings is None:
                return
            most = _EXACT_VECTORS + 1
            size = await self.database.query(lambda connection: passages.count(connection, training, most))
            if size > _EXACT_VECTORS:
                await vectors.index(self.database, training.settings.dimensions)
        except DataLayerError as error:
            logger.warning("the index of vectors is not built, which the next large training does: %s", error)
