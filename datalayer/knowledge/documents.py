"""SQL of the documents of a training, with their passages and vectors.

A document is written in pieces, so that a large one holds up no other write: first its row, which counts as seen by no
training, then its passages, then the number of the training. A row that was not finished is deleted by the next try.
"""

import uuid
from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, delete, insert, literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.history.search_tokens import owner_key, tokens
from datalayer.knowledge import trainings
from datalayer.records.knowledge import Document, DocumentPassage, NewDocument, NewPassage, Training
from datalayer.schema.knowledge import documents, passage_vectors, passages
from datalayer.schema.rows import columns, record_of

AT_ONCE = 100
"""Passages in one transaction."""
_UNFINISHED = 0


def _is_live(source_id: str, key: str, fingerprint: str) -> ColumnElement[bool]:
    """Whether a row is the one live document with this key and fingerprint, finished or not."""
    return and_(
        documents.c.sourceId == source_id,
        documents.c.key == key,
        documents.c.fingerprint == fingerprint,
        documents.c.until.is_(None),
    )


async def take(connection: AsyncConnection, training_id: str, source_id: str, key: str, fingerprint: str) -> bool:
    """Whether a live document has this key and fingerprint; then it is part of the training.

    Raises:
        NotFound: the training does not run any more.
    """
    training = await trainings.running(connection, training_id)
    taken = await connection.execute(
        update(documents)
        .where(_is_live(source_id, key, fingerprint), documents.c.seen > _UNFINISHED)
        .values(seen=training.number)
    )
    return bool(taken.rowcount)


async def take_source(connection: AsyncConnection, training_id: str, source_id: str, seen: int) -> int:
    """Make all live documents of a source part of the training, which the training `seen` saw; gives their number.

    Raises:
        NotFound: the training does not run any more.
    """
    training = await trainings.running(connection, training_id)
    taken = await connection.execute(
        update(documents)
        .where(
            documents.c.sourceId == source_id,
            documents.c.until.is_(None),
            documents.c.seen.in_([seen, training.number]),
        )
        .values(seen=training.number)
    )
    return taken.rowcount


async def begin(connection: AsyncConnection, training_id: str, document: NewDocument) -> tuple[str, Training]:
    """Add a document that has no passages yet; gives its id and the training.

    Raises:
        NotFound: the training does not run any more.
    """
    training = await trainings.running(connection, training_id)
    await connection.execute(delete(documents).where(_is_live(document.source_id, document.key, document.fingerprint)))
    document_id = str(uuid.uuid4())
    await connection.execute(
        insert(documents).values(
            id=document_id,
            assistantId=training.assistant_id,
            sourceId=document.source_id,
            key=document.key,
            fingerprint=document.fingerprint,
            since=training.number,
            seen=_UNFINISHED,
            title=document.title,
            recordId=document.record_id,
            suggestion=document.suggestion,
            pages=document.pages,
            passages=len(document.passages),
            words=document.words,
            characters=document.characters,
        )
    )
    return document_id, training


async def add_passages(
    connection: AsyncConnection,
    dialect: Dialect,
    training: Training,
    document_id: str,
    *,
    first: int,
    added: Sequence[NewPassage],
) -> None:
    """Add passages of a document. `first`: the position of the first of them."""
    key = owner_key(training.assistant_id)
    rows = [
        {
            "documentId": document_id,
            "position": first + at,
            "start": passage.start,
            "end": passage.end,
            "page": passage.page,
            "tokens": passage.tokens,
            "hashes": passage.hashes,
            "text": passage.text,
            "words": " ".join(key + token for token in tokens(passage.text)),
        }
        for at, passage in enumerate(added)
    ]
    statement = insert(passages).returning(passages.c.id, sort_by_parameter_order=True)
    ids = (await connection.execute(statement, rows)).scalars().all()
    vectors = [
        {
            "passageId": passage_id,
            "part": part,
            "assistantId": training.assistant_id,
            "since": training.number,
            "dimensions": len(vector) // 2,
            "vector": vector,
        }
        for passage_id, passage in zip(ids, added, strict=True)
        for part, vector in enumerate(passage.vectors)
    ]
    await connection.execute(insert(passage_vectors), vectors)
    if dialect.vectors is not None:
        await dialect.vectors.fill(connection, [(row["passageId"], row["part"], row["vector"]) for row in vectors])


async def finish(connection: AsyncConnection, training_id: str, document_id: str, document: NewDocument) -> None:
    """Make a document, whose passages are there, part of the training, and bill it.

    Raises:
        NotFound: the training does not run any more.
    """
    training = await trainings.running(connection, training_id)
    await connection.execute(update(documents).where(documents.c.id == document_id).values(seen=training.number))
    await trainings.bill(connection, training_id, document.tokens, document.cost)


async def list_of(
    connection: AsyncConnection, training: Training, *, source_id: str | None, after: str | None, limit: int
) -> list[Document]:
    """The documents of a training, by title, behind the one with the id `after`."""
    statement = (
        select(*columns(Document, documents))
        .where(trainings.is_part(documents, training), documents.c.seen > _UNFINISHED)
        .order_by(documents.c.title, documents.c.id)
        .limit(limit)
    )
    if source_id is not None:
        statement = statement.where(documents.c.sourceId == source_id)
    if after is not None:
        last = select(documents.c.title).where(documents.c.id == after).scalar_subquery()
        statement = statement.where(
            tuple_(documents.c.title, documents.c.id) > tuple_(last, literal(after, documents.c.id.type))
        )
    return [record_of(Document, documents, row) for row in (await connection.execute(statement)).mappings()]


async def get(connection: AsyncConnection, training: Training, document_id: str) -> Document | None:
    """The document, if it is part of the training."""
    statement = select(*columns(Document, documents)).where(
        documents.c.id == document_id, trainings.is_part(documents, training), documents.c.seen > _UNFINISHED
    )
    row = (await connection.execute(statement)).mappings().first()
    return None if row is None else record_of(Document, documents, row)


async def passages_of(
    connection: AsyncConnection, document_id: str, *, first: int, limit: int
) -> list[DocumentPassage]:
    """The passages of a document in their order, from the position `first` on."""
    statement = (
        select(*columns(DocumentPassage, passages))
        .where(passages.c.documentId == document_id, passages.c.position >= first)
        .order_by(passages.c.position)
        .limit(limit)
    )
    return [record_of(DocumentPassage, passages, row) for row in (await connection.execute(statement)).mappings()]
