"""Finds the passages for a question of the chat, and their pages. A `ModelError` says why no passages can be searched.

An assistant that was never trained costs one statement, and opens nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from datalayer.errors import BlobError, NotFound
from datalayer.ownership import SYSTEM, acting_as
from datalayer.records.assistants import Assistant
from datalayer.records.knowledge import DataSource, Passage, SourceResult, Training
from threadkeeper.chat.assistants import Found, Numbered
from threadkeeper.chat.context.steps import Step
from threadkeeper.chat.model import Model, ModelError, Purpose
from threadkeeper.documents.pages import PlaceInPdf, cut_pages
from threadkeeper.knowledge.embedding.base import EmbeddingError, EmbeddingPurpose
from threadkeeper.knowledge.followups import standalone
from threadkeeper.knowledge.missing import NoKnowledge
from threadkeeper.knowledge.on_demand import KnowledgeOnDemand
from threadkeeper.knowledge.retrieval.retriever import NothingTrained, OtherModel
from threadkeeper.tracing.hooks import retrieval

logger = logging.getLogger(__name__)

_PDF = "pdf "
"""The loader of PDFs, before its version."""
_CUT_SECONDS = 20.0


class AskedStore(Protocol):
    """The part of the data layer that a question reads."""

    async def current_training(self, assistant_id: str) -> Training | None: ...
    async def get_passages(self, scores: Sequence[tuple[int, float]], training: Training) -> list[Passage]: ...
    async def trained_sources(
        self, training_id: str, source_ids: Collection[str] | None = None
    ) -> dict[str, tuple[SourceResult, Any]]: ...
    async def read_source(self, source_id: str) -> tuple[DataSource, bytes]: ...


class KnowledgeRetriever:
    """Finds passages for the chat and the try-out pane: `chat.assistants.Retriever`.

    Args:
        knowledge: is opened by the first question to a trained assistant.
        store: the data layer.
        model: rewrites follow-up questions.
        rewrite_model: its name.
    """

    def __init__(self, knowledge: KnowledgeOnDemand, store: AskedStore, model: Model, *, rewrite_model: str) -> None:
        self._knowledge, self._store, self._model, self._rewrite_model = knowledge, store, model, rewrite_model

    async def find(self, assistant: Assistant, question: str, thread: Sequence[Step], purpose: Purpose) -> Found:
        with acting_as(SYSTEM):
            # In the knowledge, an assistant is its slug. One that is not saved yet has none.
            training = await self._store.current_training(assistant.slug) if assistant.slug else None
        if training is None:
            return Found(searched=question)
        ids = {"thread_id": purpose.thread_id, "assistant": assistant.reference, "training": training.id}
        try:
            service = await self._knowledge.service()
        except NoKnowledge as error:
            logger.error("no passages for a question to the assistant %s: %s", assistant.slug, error, extra=ids)
            raise ModelError("knowledge_missing", str(error)) from error
        searched = await standalone(question, thread, self._model, self._rewrite_model, purpose)
        embedding = EmbeddingPurpose(assistant.slug, purpose.user_id, purpose.thread_id, assistant.version or None)
        try:
            with retrieval(assistant.slug, purpose.thread_id, searched) as note_passages:
                found = await service.find(
                    assistant.slug,
                    searched,
                    embedding,
                    model=training.settings.model if training.settings else "",
                    threshold=assistant.settings.score_threshold,
                )
                note_passages(len(found.passages))
        except NothingTrained:
            # It was deleted just now.
            return Found(searched=searched)
        except (OtherModel, NoKnowledge) as error:
            logger.error("no passages for a question to the assistant %s: %s", assistant.slug, error, extra=ids)
            raise ModelError("knowledge_outdated", str(error)) from error
        except EmbeddingError as error:
            logger.error("no passages for a question to the assistant %s: %s", assistant.slug, error, extra=ids)
            if error.kind == "over_limit" and isinstance(error.__cause__, ModelError):
                raise error.__cause__ from error
            raise ModelError("knowledge_away", str(error)) from error
        return Found(found.passages, found.below, found.training.id, searched)

    async def again(self, assistant: Assistant, passage_ids: Sequence[int]) -> Found:
        with acting_as(SYSTEM):
            training = await self._store.current_training(assistant.slug)
            if training is None:
                return Found()
            passages = await self._store.get_passages([(passage_id, 0.0) for passage_id in passage_ids], training)
        return Found(passages, training_id=training.id)

    async def pages(self, training_id: str, passages: Numbered) -> Mapping[int, bytes]:
        by_source: dict[str, dict[int, PlaceInPdf]] = {}
        for number, one in passages.items():
            if one.page is not None:
                by_source.setdefault(one.source_id, {})[number] = PlaceInPdf(one.page, one.text)
        found: dict[int, bytes] = {}
        if not by_source:
            return found
        with acting_as(SYSTEM):
            trained = await self._store.trained_sources(training_id, list(by_source))
            for source_id, places in by_source.items():
                result = trained[source_id][0] if source_id in trained else None
                if result is None or not (result.loader or "").startswith(_PDF):
                    continue
                read = partial(self._as_trained, source_id, result)
                cut = await cut_pages(result.title, read, list(places.values()), seconds=_CUT_SECONDS)
                found |= {number: page for number, page in zip(places, cut, strict=True) if page is not None}
        return found

    async def _as_trained(self, source_id: str, result: SourceResult) -> bytes | None:
        """The file of a data source, if it is as it was trained."""
        try:
            source, data = await self._store.read_source(source_id)
        except (NotFound, BlobError) as error:
            logger.warning("no page of the data source %s can be shown: %s", source_id, error)
            return None
        return data if source.sha256 == result.sha256 else None
