"""SQL of the search in passages: what ranks them, and what is shown of the best."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.history.search_tokens import owner_key
from datalayer.records.knowledge import Passage, PassageVector, Training
from datalayer.records.search import Query
from datalayer.schema.knowledge import documents, passage_vectors, passages

_VECTOR = (passage_vectors.c.passageId, passage_vectors.c.vector, passage_vectors.c.hashes)


def visible(training: Training) -> ColumnElement[bool]:
    """Whether a row of `passage_vectors` is part of the training."""
    return and_(
        passage_vectors.c.assistantId == training.assistant_id,
        passage_vectors.c.since <= training.number,
        or_(passage_vectors.c.until.is_(None), passage_vectors.c.until > training.number),
    )


async def count(connection: AsyncConnection, training: Training, most: int) -> int:
    """The number of passages of a training; counts no more than `most`."""
    rows = select(passage_vectors.c.passageId).where(visible(training)).limit(most).subquery()
    return int((await connection.execute(select(func.count()).select_from(rows))).scalar_one())


async def page(connection: AsyncConnection, training: Training, after: int, limit: int) -> list[PassageVector]:
    """The vectors of a training with an id larger than `after`, in order of their ids.

    While the training runs, these are all that it will contain if its remaining sources have none.
    """
    statement = (
        select(*_VECTOR).where(visible(training), passage_vectors.c.passageId > after).order_by(_VECTOR[0]).limit(limit)
    )
    if training.state == "training":
        seen = documents.c.seen == training.number
        statement = statement.join(passages, passages.c.id == passage_vectors.c.passageId)
        statement = statement.join(documents, documents.c.id == passages.c.documentId).where(seen)
    return [PassageVector(*row) for row in await connection.execute(statement)]


async def vectors(connection: AsyncConnection, training: Training, ids: Sequence[int]) -> list[PassageVector]:
    """The vectors of these passages, in no particular order; those of deleted passages are missing."""
    statement = select(*_VECTOR).where(visible(training), passage_vectors.c.passageId.in_(ids))
    return [PassageVector(*row) for row in await connection.execute(statement)]


async def with_words(
    connection: AsyncConnection, dialect: Dialect, training: Training, words: Sequence[str], limit: int
) -> list[PassageVector]:
    """The vectors of passages with any of these search tokens, in no particular order."""
    key = owner_key(training.assistant_id)
    wanted = dialect.any_of([dialect.search_query(key, Query((word,), ())) for word in words])
    found = dialect.matches_words(bindparam(None, wanted), passages)
    statement = (
        select(*_VECTOR)
        .join(passages, passages.c.id == passage_vectors.c.passageId)
        .where(found, visible(training))
        .limit(limit)
    )
    return [PassageVector(*row) for row in await connection.execute(statement)]


async def described(connection: AsyncConnection, scores: Sequence[tuple[int, float]]) -> list[Passage]:
    """The passages with these ids and scores, in this order; deleted ones are missing."""
    statement = (
        select(
            passages.c.id,
            passages.c.documentId,
            documents.c.title,
            documents.c.sourceId,
            passages.c.text,
            passages.c.page,
            documents.c.recordId,
        )
        .join(documents, documents.c.id == passages.c.documentId)
        .where(passages.c.id.in_([passage_id for passage_id, _ in scores]))
    )
    found = {
        row.id: Passage(row.id, row.documentId, row.title, row.sourceId, row.text, 0.0, row.page, row.recordId)
        for row in await connection.execute(statement)
    }
    return [replace(found[passage_id], score=score) for passage_id, score in scores if passage_id in found]
