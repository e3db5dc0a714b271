"""SQL of the documents of a training, with their passages and vectors.

Small documents are written together in one transaction. Many passages are written in pieces, so that they hold up no
other write: first the rows of the documents, which count as seen by no training, then the passages, then the number of
the training. A row that was not finished is deleted by the next try, unless its document is written by `begin_large`.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, literal, select, tuple_, update
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


async def live(
    connection: AsyncConnection, training_id: str, source_id: str, wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The ids of the finished live documents of a source with these keys and fingerprints.

    Raises:
        NotFound: the training does not run any more.
    """
    await trainings.running(connection, training_id)
    found = await _live(connection, {(source_id, *one) for one in wanted}, documents.c.seen > _UNFINISHED)
    return {(key, fingerprint): document_id for (_, key, fingerprint), document_id in found.items()}


async def _live(
    connection: AsyncConnection, wanted: Collection[tuple[str, str, str]], *conditions: ColumnElement[bool]
) -> dict[tuple[str, str, str], str]:
    """The ids of live documents by their source, key and fingerprint."""
    sources, keys, fingerprints = zip(*wanted, strict=True)
    statement = select(documents.c.sourceId, documents.c.key, documents.c.fingerprint, documents.c.id).where(
        documents.c.until.is_(None),
        documents.c.sourceId.in_(set(sources)),
        documents.c.key.in_(set(keys)),
        documents.c.fingerprint.in_(set(fingerprints)),
        *conditions,
    )
    found = {(row[0], row[1], row[2]): row[3] for row in await connection.execute(statement)}
    return {one: found[one] for one in wanted if one in found}


async def take(connection: AsyncConnection, training_id: str, ids: Collection[str]) -> None:
    """Make these documents part of the training.

    Raises:
        NotFound: the training does not run any more.
    """
    training = await trainings.running(connection, training_id)
    await _take(connection, training, documents.c.id.in_(ids))


async def take_source(connection: AsyncConnection, training_id: str, source_id: str, seen: int) -> int:
    """Make all live documents of a source part of the training, which the training `seen` saw; gives their number.

    Raises:
        NotFound: the training does not run any more.
    """
    training = await trainings.running(connection, training_id)
    of_source = (documents.c.sourceId == source_id, documents.c.until.is_(None))
    await _take(connection, training, *of_source, documents.c.seen == seen)
    taken = select(func.count()).where(*of_source, documents.c.seen == training.number)
    return int((await connection.execute(taken)).scalar_one())


async def _take(connection: AsyncConnection, training: Training, *chosen: ColumnElement[bool]) -> None:
    """Make documents part of the training, and count those that were not before."""
    new = (*chosen, documents.c.seen != training.number)
    sums = select(func.count(), func.coalesce(func.sum(documents.c.passages), 0)).where(*new)
    count, of_passages = (await connection.execute(sums)).one()
    if count:
        await connection.execute(update(documents).where(*new).values(seen=training.number))
        await trainings.note(connection, training.id, documents=count, passages=int(of_passages))


async def add(
    connection: AsyncConnection, dialect: Dialect, training_id: str, added: Mapping[str, NewDocument]
) -> None:
    """Add documents by new ids, with their passages; at most `AT_ONCE` passages in all.

    Raises:
        NotFound: the training does not run any more.
    """
    training = await begin(connection, training_id, added)
    await add_passages(connection, dialect, training, list(positioned(added)))
    await _finish(connection, training, added)


async def begin(connection: AsyncConnection, training_id: str, added: Mapping[str, NewDocument]) -> Training:
    """Add documents by new ids that have no passages yet; gives the training.

    Raises:
        NotFound: the training does not run any more.
    """
    training = await trainings.running(connection, training_id)
    replaced = await _live(connection, {(one.source_id, one.key, one.fingerprint) for one in added.values()})
    if replaced:
        await connection.execute(delete(documents).where(documents.c.id.in_(replaced.values())))
    await connection.execute(insert(documents), [_row(training, *one) for one in added.items()])
    return training


def _row(training: Training, document_id: str, document: NewDocument) -> dict[str, Any]:
    return {
        "id": document_id,
        "assistantId": training.assistant_id,
        "sourceId": document.source_id,
        "key": document.key,
        "fingerprint": document.fingerprint,
        "since": training.number,
        "seen": _UNFINISHED,
        "title": document.title,
        "recordId": document.record_id,
        "suggestion": document.suggestion,
        "pages": document.pages,
        "passages": len(document.passages),
        "words": document.words,
        "characters": document.characters,
    }


async def begin_large(
    connection: AsyncConnection, training_id: str, new_id: str, document: NewDocument
) -> tuple[str, int]:
    """Add a document without its passages, or go on with one that was not finished; gives its id, and how many of its
    passages are there.

    Raises:
        NotFound: the training does not run any more.
    """
    training = await trainings.running(connection, training_id)
    there = await _live(connection, [(document.source_id, document.key, document.fingerprint)])
    if not there:
        await connection.execute(insert(documents), [_row(training, new_id, document)])
        return new_id, 0
    (found,) = there.values()
    stored = select(func.count()).where(passages.c.documentId == found)
    return found, int((await connection.execute(stored)).scalar_one())


async def add_to_large(
    connection: AsyncConnection,
    dialect: Dialect,
    training_id: str,
    document_id: str,
    added: Sequence[tuple[int, NewPassage]],
    *,
    tokens_billed: int | None,
    cost: Decimal | None,
) -> None:
    """Add the next passages, with their positions, to a document. Nothing is added to one that was deleted.

    Raises:
        NotFound: the training does not run any more.
    """
    training = await trainings.running(connection, training_id)
    begun = select(documents.c.title, documents.c.since).where(documents.c.id == document_id)
    # Locked, so that it is not deleted before its passages are there.
    row = (await connection.execute(begun.with_for_update(read=True, key_share=True))).first()
    if row is not None:
        # An earlier training may have begun the document.
        of_document = replace(training, number=row.since)
        placed = [(document_id, row.title, position, passage) for position, passage in added]
        await add_passages(connection, dialect, of_document, placed)
    await trainings.note(connection, training_id, passages=len(added), tokens=tokens_billed, cost=cost)


async def finish_large(connection: AsyncConnection, training_id: str, document_id: str, count: int) -> None:
    """Make a document, whose passages are there, part of the training.

    Raises:
        NotFound: the training does not run any more.
    """
    training = await trainings.running(connection, training_id)
    finished = update(documents).where(documents.c.id == document_id, documents.c.seen != training.number)
    if (await connection.execute(finished.values(seen=training.number, passages=count))).rowcount:
        await trainings.note(connection, training_id, documents=1)


def positioned(added: Mapping[str, NewDocument]) -> Iterator[tuple[str, str, int, NewPassage]]:
    """The passages of documents with the id and the title of the document and their positions in it."""
    for document_id, document in added.items():
        for position, passage in enumerate(document.passages):
            yield document_id, document.title, position, passage


async def add_piece(
    connection: AsyncConnection, dialect: Dialect, training: Training, added: Sequence[tuple[str, str, int, NewPassage]]
) -> None:
    """Add passages to documents of an earlier transaction. Documents that were deleted since are left out."""
    begun = select(documents.c.id).where(documents.c.id.in_({document_id for document_id, *_ in added}))
    # Locked, so that they are not deleted before their passages are there.
    there = set((await connection.execute(begun.with_for_update(read=True, key_share=True))).scalars())
    await add_passages(connection, dialect, training, [one for one in added if one[0] in there])


async def add_passages(
    connection: AsyncConnection, dialect: Dialect, training: Training, added: Sequence[tuple[str, str, int, NewPassage]]
) -> None:
    """Add passages to documents. A passage is found by the words of the title too."""
    if not added:
        return
    # In a thread: the words of a hundred long passages would hold up whatever else this process answers.
    rows = await asyncio.to_thread(_passage_rows, owner_key(training.assistant_id), added)
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
        for passage_id, (*_, passage) in zip(ids, added, strict=True)
        for part, vector in enumerate(passage.vectors)
    ]
    await connection.execute(insert(passage_vectors), vectors)
    if dialect.vectors is not None:
        await dialect.vectors.fill(connection, [(row["passageId"], row["part"], row["vector"]) for row in vectors])


def _passage_rows(key: str, added: Sequence[tuple[str, str, int, NewPassage]]) -> list[dict[str, Any]]:
    return [
        {
            "documentId": document_id,
            "position": position,
            "start": passage.start,
            "end": passage.end,
            "page": passage.page,
            "tokens": passage.tokens,
            "hashes": passage.hashes,
            "text": passage.text,
            "words": " ".join(key + token for token in tokens(f"{title}\n{passage.text}")),
        }
        for document_id, title, position, passage in added
    ]


async def finish(connection: AsyncConnection, training_id: str, added: Mapping[str, NewDocument]) -> None:
    """Make documents, whose passages are there, part of the training, and bill them.

    Raises:
        NotFound: the training does not run any more.
    """
    await _finish(connection, await trainings.running(connection, training_id), added)


async def _finish(connection: AsyncConnection, training: Training, added: Mapping[str, NewDocument]) -> None:
    await connection.execute(update(documents).where(documents.c.id.in_(list(added))).values(seen=training.number))
    costs = [one.cost for one in added.values()]
    await trainings.note(
        connection,
        training.id,
        documents=len(added),
        passages=sum(len(one.passages) for one in added.values()),
        tokens=sum(one.tokens or 0 for one in added.values()),
        cost=None if None in costs else sum((one or Decimal(0) for one in costs), Decimal(0)),
    )


async def are_finished(connection: AsyncConnection, ids: Collection[str]) -> bool:
    """Whether one of these documents, which are finished together, is."""
    found = select(documents.c.id).where(documents.c.id.in_(ids), documents.c.seen > _UNFINISHED).limit(1)
    return (await connection.execute(found)).first() is not None


async def has_passage(document_id: str, position: int, connection: AsyncConnection) -> bool:
    """Whether the passage at this position of a document is stored."""
    found = select(passages.c.id).where(passages.c.documentId == document_id, passages.c.position == position).limit(1)
    return (await connection.execute(found)).first() is not None


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


async def spread(
    connection: AsyncConnection, training: Training, *, limit: int, with_suggestion: bool
) -> list[Document]:
    """Documents of a training, of as many of its sources as there are; the same ones each time.

    Args:
        with_suggestion: whether they have a question of their own; otherwise, that does not matter.
    """
    place = func.row_number().over(partition_by=documents.c.sourceId, order_by=documents.c.id)
    of_training = (trainings.is_part(documents, training), documents.c.seen > _UNFINISHED)
    ranked = select(*columns(Document, documents), place.label("place")).where(*of_training)
    if with_suggestion:
        ranked = ranked.where(documents.c.suggestion.is_not(None))
    found = ranked.subquery()
    names = [found.c[column.name] for column in columns(Document, documents)]
    statement = select(*names).order_by(found.c.place, found.c.id).limit(limit)
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
