"""Public methods for the questions that the documents of a training answer."""

from collections.abc import Sequence

from datalayer.cleaning import clean_text
from datalayer.knowledge import documents, trainings
from datalayer.ownership import acting_user, demand_system
from datalayer.records.knowledge import Document, Training
from datalayer.store import DataStore


class Suggestions(DataStore):
    """Questions of trainings, and the documents to make them from."""

    async def spread_documents(
        self, training: Training, limit: int, *, with_suggestion: bool = False
    ) -> list[Document]:
        """Documents of as many sources of a training as there are, the same ones each time.

        Args:
            with_suggestion: only those that have a question of their own.
        """
        demand_system(acting_user.get(), "knowledge")
        return await self.database.query(
            lambda connection: documents.spread(connection, training, limit=limit, with_suggestion=with_suggestion)
        )

    async def keep_suggestions(self, training_id: str, suggestions: Sequence[str]) -> bool:
        """Store questions that the documents of a training answer; False if it has not succeeded."""
        demand_system(acting_user.get(), "the change of knowledge")
        cleaned = [clean_text(one) for one in suggestions]
        kept: bool = await self._writer.submit(
            lambda connection: trainings.keep_suggestions(connection, training_id, cleaned)
        )
        return kept

    async def suggestions_of(self, assistant_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Questions that the trainings answer which are current, by assistant; assistants without any are missing."""
        demand_system(acting_user.get(), "knowledge")
        return await self.database.query(lambda connection: trainings.suggestions_of(connection, assistant_ids))
