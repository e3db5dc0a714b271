"""Public methods for what assistants know: sources, trainings and the search in passages.

An assistant is a text id; who may use it is decided by the application, which then acts as the system. Every method
here raises Forbidden for users and visitors.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_json, clean_text, known_id
from datalayer.errors import NotFound
from datalayer.history import owned_knowledge
from datalayer.knowledge import documents, listings, trainings
from datalayer.knowledge.kept_sources import KeptSources
from datalayer.knowledge.passage_search import PassageSearch
from datalayer.knowledge.suggestions import Suggestions
from datalayer.ownership import acting_user, demand_system
from datalayer.records.knowledge import (
    Document,
    DocumentPassage,
    NewDocument,
    NewPassage,
    ResultPage,
    SourceResult,
    Training,
    TrainingSettings,
)
from datalayer.writes.repeats import conditional, repeatable

logger = logging.getLogger(__name__)


class Knowledge(KeptSources, PassageSearch, Suggestions):
    """Data sources and trainings of assistants, and the search in their passages."""

    async def delete_knowledge(self, assistant_id: str) -> None:
        """Delete the sources, files and trainings of an assistant."""
        demand_system(acting_user.get(), "the change of knowledge")
        keys = await self._writer.submit(lambda connection: owned_knowledge.remove(connection, [assistant_id]))
        await self.file_deleter.delete(keys, None)

    # Trainings

    async def start_training(self, assistant_id: str, started_by: str | None = None) -> Training:
        """Add a new training of an assistant, which `begin_training` begins.

        Args:
            started_by: the id of the user who started it.

        Raises:
            AlreadyExists: another training of this assistant runs.
        """
        demand_system(acting_user.get(), "the change of knowledge")
        training_id, assistant = str(uuid.uuid4()), clean_text(assistant_id)
        dialect = self.database.dialect
        await self._writer.submit(
            repeatable(
                lambda connection: trainings.start(connection, dialect, training_id, assistant, started_by),
                lambda connection: _is_there(connection, training_id),
            )
        )
        found = await self.get_training(training_id)
        assert found is not None
        return found

    async def list_trainings(self, assistant_id: str, limit: int = 50) -> list[Training]:
        """The newest trainings of an assistant, newest first."""
        demand_system(acting_user.get(), "knowledge")
        return await self.database.query(lambda connection: trainings.list_of(connection, assistant_id, limit))

    async def get_training(self, training_id: str) -> Training | None:
        """The training; None if there is none."""
        demand_system(acting_user.get(), "knowledge")
        known = known_id(training_id)
        return None if known is None else await self.database.query(lambda connection: trainings.get(connection, known))

    async def current_training(self, assistant_id: str) -> Training | None:
        """The training that answers; None before the first success."""
        demand_system(acting_user.get(), "knowledge")
        return await self.database.query(lambda connection: trainings.current(connection, assistant_id))

    async def begin_training(self, training_id: str, settings: TrainingSettings, expected_sources: int) -> bool:
        """Note that a training begins, or goes on after its process ended; False if it was cancelled or has ended."""
        demand_system(acting_user.get(), "the change of knowledge")
        begun: bool = await self._writer.submit(
            lambda connection: trainings.begin(connection, training_id, settings, expected_sources)
        )
        return begun

    async def cancel_training(self, training_id: str) -> bool:
        """Cancel a training that runs, so that the current one stays; False if it does not run."""
        demand_system(acting_user.get(), "the change of knowledge")
        return await self._end(training_id, lambda connection: trainings.end(connection, training_id, "cancelled"))

    async def fail_training(self, training_id: str, error: str, failure: dict[str, Any] | None = None) -> bool:
        """Note that a training failed and why, so that the current one stays; False if it does not run.

        Args:
            failure: the kind of the failure and its values, for sentences in other languages.
        """
        demand_system(acting_user.get(), "the change of knowledge")
        told = clean_text(error), clean_json(failure)
        return await self._end(training_id, lambda connection: trainings.end(connection, training_id, "failed", *told))

    async def finish_training(self, training_id: str, threshold: float, word_counts: bytes) -> bool:
        """Make a training answer in place of the current one, at once; False if it does not run any more.

        The first large training then waits for its index of vectors; an error of the build is logged.

        Args:
            threshold: the score below which a passage answers nothing.
            word_counts: how many passages contain each word, and what else scores are compared with, as the search
                reads it.
        """
        demand_system(acting_user.get(), "the change of knowledge")
        swapped = await self._end(
            training_id, lambda connection: trainings.swap(connection, training_id, threshold, word_counts)
        )
        if swapped:
            # The training answers without it, and its build waits for every old transaction.
            await self.index_vectors(training_id)
        return swapped

    async def _end(self, training_id: str, end: Callable[[AsyncConnection], Awaitable[bool]]) -> bool:
        """Let a training end; gives whether it was running, also if the queue repeats this."""
        ended: bool = await self._writer.submit(
            conditional(end, lambda connection: trainings.get(connection, training_id))
        )
        return ended

    async def remove_old_trainings(self, assistant_id: str, keep: int = 3) -> int:
        """Delete the trainings before the newest `keep` successful ones, with what only they contain; gives their
        number."""
        demand_system(acting_user.get(), "the change of knowledge")
        removed: int = await self._writer.submit(
            lambda connection: trainings.remove_old(connection, assistant_id, max(keep, 1))
        )
        return removed

    # The documents of a training

    async def trained_sources(
        self, training_id: str, source_ids: Collection[str] | None = None
    ) -> dict[str, tuple[SourceResult, Any]]:
        """What a training took of each source so far, and the source's options of that moment, by the source's id.

        Args:
            source_ids: only of these sources; None: of all, which can be many.
        """
        demand_system(acting_user.get(), "knowledge")
        return await self.database.query(lambda connection: trainings.sources_of(connection, training_id, source_ids))

    async def page_of_results(self, training_id: str, *, cursor: str | None = None, limit: int = 50) -> ResultPage:
        """A page of what a training took of its sources: refused ones first, then by title.

        Raises:
            InvalidRecord: the cursor is not valid.
        """
        demand_system(acting_user.get(), "knowledge")
        return await self.database.query(
            lambda connection: listings.page_of_results(connection, training_id, cursor=cursor, limit=limit)
        )

    async def keep_source_result(self, training_id: str, result: SourceResult, options: dict[str, Any]) -> None:
        """Store what a training took of a source. A training that is begun again leaves it out."""
        demand_system(acting_user.get(), "the change of knowledge")
        cleaned = replace(result, taken=clean_json(result.taken))
        await self._writer.submit(
            lambda connection: trainings.keep_source(connection, training_id, cleaned, clean_json(options))
        )

    async def take_source(self, training_id: str, source_id: str, number: int) -> int:
        """Make the documents of a source, as the training of this number has them, part of a training; gives how many.

        Raises:
            NotFound: the training does not run any more.
        """
        demand_system(acting_user.get(), "the change of knowledge")
        taken: int = await self._writer.submit(
            lambda connection: documents.take_source(connection, training_id, source_id, number)
        )
        return taken

    async def take_documents(
        self, training_id: str, source_id: str, wanted: Collection[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        """Make documents of a source that were embedded before part of a training; gives those that are there.

        Args:
            wanted: the key and the fingerprint of each document.

        Raises:
            NotFound: the training does not run any more.
        """
        demand_system(acting_user.get(), "the change of knowledge")
        by_cleaned = {(clean_text(key), fingerprint): (key, fingerprint) for key, fingerprint in wanted}
        if not by_cleaned:
            return set()
        found = await self.database.query(
            lambda connection: documents.live(connection, training_id, source_id, by_cleaned)
        )
        if found:
            ids = list(found.values())
            await self._writer.submit(lambda connection: documents.take(connection, training_id, ids))
        return {by_cleaned[one] for one in found}

    async def keep_documents(self, training_id: str, added: Sequence[NewDocument]) -> None:
        """Store documents with their passages as part of a training.

        Few passages are stored in one transaction, many in pieces, so that others are not held up; documents whose
        source is deleted between two pieces are left out. Of documents with the same source, key and fingerprint, the
        last is stored.

        Raises:
            NotFound: the training does not run any more.
        """
        demand_system(acting_user.get(), "the change of knowledge")
        dialect, cleaned = self.database.dialect, map(_clean_document, added)
        distinct = {(one.source_id, one.key, one.fingerprint): one for one in cleaned}
        by_id = {str(uuid.uuid4()): one for one in distinct.values()}

        async def are_finished(connection: AsyncConnection) -> bool:
            return await documents.are_finished(connection, by_id)

        if sum(len(one.passages) for one in by_id.values()) <= documents.AT_ONCE:
            if by_id:
                await self._writer.submit(
                    repeatable(lambda connection: documents.add(connection, dialect, training_id, by_id), are_finished)
                )
            return
        training = await self._writer.submit(lambda connection: documents.begin(connection, training_id, by_id))
        pieces = documents.positioned(by_id)
        while piece := list(islice(pieces, documents.AT_ONCE)):

            async def add(connection: AsyncConnection, piece: Sequence[Any] = piece) -> None:
                await documents.add_piece(connection, dialect, training, piece)

            document_id, _title, position, _passage = piece[-1]
            await self._writer.submit(repeatable(add, partial(documents.has_passage, document_id, position)))
        await self._writer.submit(
            repeatable(lambda connection: documents.finish(connection, training_id, by_id), are_finished)
        )

    async def begin_document(self, training_id: str, document: NewDocument) -> tuple[str, int]:
        """Begin to store a large document, or go on with it after the training was cut; `keep_passages` stores its
        passages, and `finish_document` makes it part of the training.

        Args:
            document: without passages; its tokens and cost are told with them.

        Returns:
            Its id, and how many of its passages are there.

        Raises:
            NotFound: the training does not run any more.
        """
        demand_system(acting_user.get(), "the change of knowledge")
        made, cleaned = str(uuid.uuid4()), _clean_document(document)
        begun: tuple[str, int] = await self._writer.submit(
            lambda connection: documents.begin_large(connection, training_id, made, cleaned)
        )
        return begun

    async def keep_passages(
        self,
        training_id: str,
        document_id: str,
        first: int,
        added: Sequence[NewPassage],
        *,
        tokens: int | None,
        cost: Decimal | None,
    ) -> None:
        """Store passages of a document that `begin_document` began, in one transaction; nothing, if it was deleted.

        Args:
            first: the position of the first of them in the document.
            tokens: of their embedding, as billed.
            cost: of their embedding in US dollars; None if unknown.

        Raises:
            NotFound: the training does not run any more.
        """
        demand_system(acting_user.get(), "the change of knowledge")
        dialect, placed = self.database.dialect, list(enumerate(added, first))
        await self._writer.submit(
            repeatable(
                lambda connection: documents.add_to_large(
                    connection, dialect, training_id, document_id, placed, tokens_billed=tokens, cost=cost
                ),
                partial(documents.has_passage, document_id, first + len(placed) - 1),
            )
        )

    async def finish_document(self, training_id: str, document_id: str, passages: int) -> None:
        """Make a document part of the training, once all of its passages, so many, are stored.

        Raises:
            NotFound: the training does not run any more.
        """
        demand_system(acting_user.get(), "the change of knowledge")
        await self._writer.submit(
            lambda connection: documents.finish_large(connection, training_id, document_id, passages)
        )

    async def bill_training(self, training_id: str, tokens: int | None, cost: Decimal | None) -> None:
        """Add what embedding without a document cost, as for the threshold."""
        demand_system(acting_user.get(), "the change of knowledge")
        await self._writer.submit(
            conditional(
                lambda connection: trainings.note(connection, training_id, tokens=tokens, cost=cost),
                lambda connection: trainings.get(connection, training_id),
            )
        )

    async def list_documents(
        self, training_id: str, source_id: str | None = None, limit: int = 200, after: str | None = None
    ) -> list[Document]:
        """The documents of a training, or those of one source in it, by title.

        Args:
            after: the id of the last document of the page before.

        Raises:
            NotFound: there is no such training.
            InvalidRecord: `after` is no id.
        """
        training = await self.get_training(training_id)
        if training is None:
            raise NotFound(f"there is no training {training_id}")
        after = after and clean_id(after, "id of a document")
        return await self.database.query(
            lambda connection: documents.list_of(connection, training, source_id=source_id, after=after, limit=limit)
        )

    async def get_document(self, training: Training, document_id: str) -> Document | None:
        """The document; None if it is no part of the training."""
        demand_system(acting_user.get(), "knowledge")
        known = known_id(document_id)
        if known is None:
            return None
        return await self.database.query(lambda connection: documents.get(connection, training, known))

    async def list_passages(self, document_id: str, first: int = 0, limit: int = 50) -> list[DocumentPassage]:
        """The passages of a document in their order, from the position `first` on."""
        demand_system(acting_user.get(), "knowledge")
        return await self.database.query(
            lambda connection: documents.passages_of(connection, document_id, first=first, limit=limit)
        )


async def _is_there(connection: AsyncConnection, training_id: str) -> bool:
    return await trainings.get(connection, training_id) is not None


def _clean_document(document: NewDocument) -> NewDocument:
    return replace(
        document,
        key=clean_text(document.key),
        title=clean_text(document.title),
        record_id=None if document.record_id is None else clean_text(document.record_id),
        suggestion=None if document.suggestion is None else clean_text(document.suggestion),
    )
