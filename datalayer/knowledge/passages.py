"""SQL of the search in passages: what ranks them, and what is shown of the best."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import bindparam, exists, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.history.search_tokens import owner_key
from datalayer.knowledge.trainings import is_part
from datalayer.records.knowledge import Passage, PassageVector, Training
from datalayer.records.search import Query
from datalayer.schema.knowledge import documents, passage_vectors, passages

_VECTOR = (passage_vectors.c.passageId, passage_vectors.c.part, passage_vectors.c.vector)


async def count(connection: AsyncConnection, training: Training, most: int) -> int:
    """The number of vectors of a training; counts no more than `most`."""
    rows = select(literal(1)).where(is_part(passage_vectors, training)).limit(most).subquery()
    return int((await connection.execute(select(func.count()).select_from(rows))).scalar_one())


async def page(
    connection: AsyncConnection, training: Training, after: tuple[int, int], limit: int
) -> list[PassageVector]:
    """The vectors of a training behind that of a passage and part, in their order.

    While the training runs, these are all that it will contain if its remaining sources have none.
    """
    place = (passage_vectors.c.passageId, passage_vectors.c.part)
    statement = (
        select(*_VECTOR).where(is_part(passage_vectors, training), tuple_(*place) > after).order_by(*place).limit(limit)
    )
    if training.state == "training":
        statement = statement.join(passages, passages.c.id == passage_vectors.c.passageId)
        statement = statement.join(documents, documents.c.id == passages.c.documentId)
        statement = statement.where(documents.c.seen == training.number)
    return [PassageVector(*row) for row in await connection.execute(statement)]


async def hashes(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, bytes]:
    """The hashes of the words of these passages; those of deleted ones are missing."""
    statement = select(passages.c.id, passages.c.hashes).where(passages.c.id.in_(ids))
    return {row[0]: row[1] for row in await connection.execute(statement)}


async def vectors(connection: AsyncConnection, training: Training, ids: Sequence[int]) -> list[PassageVector]:
    """All vectors of these passages, in no particular order; those of deleted passages are missing."""
    statement = select(*_VECTOR).where(is_part(passage_vectors, training), passage_vectors.c.passageId.in_(ids))
    return [PassageVector(*row) for row in await connection.execute(statement)]


async def with_words(
    connection: AsyncConnection, dialect: Dialect, training: Training, words: Sequence[str], limit: int
) -> list[int]:
    """The ids of passages with any of these search tokens, in no particular order."""
    key = owner_key(training.assistant_id)
    wanted = dialect.any_of([dialect.search_query(key, Query((word,), ())) for word in words])
    found = dialect.matches_words(bindparam(None, wanted), passages)
    of_training = exists().where(is_part(passage_vectors, training), passage_vectors.c.passageId == passages.c.id)
    statement = select(passages.c.id).where(found, of_training).limit(limit)
    return list((await connection.execute(statement)).scalars())


async def described(
    connection: AsyncConnection, scores: Sequence[tuple[int, float]], training: Training | None
) -> list[Passage]:
    """The passages with these ids and scores, in this order; deleted ones are missing, and those of other trainings."""
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
    if training is not None:
        statement = statement.where(is_part(documents, training))
    found = {
        row.id: Passage(row.id, row.documentId, row.title, row.sourceId, row.text, 0.0, row.page, row.recordId)
        for row in await connection.execute(statement)
    }
    return [replace(found[passage_id], score=score) for passage_id, score in scores if passage_id in found]
