"""SQL of trainings: their states, and the swap that makes a new one answer.

A training runs while its state is "new" or "training"; the database allows one at a time for an assistant. Its
documents are invisible until the swap, because they begin with its number.
"""

from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Select,
    Table,
    and_,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_now
from datalayer.dialects import Dialect
from datalayer.errors import AlreadyExists, NotRunning
from datalayer.records.knowledge import SourceResult, Training, TrainingCounts, TrainingSettings, TrainingState
from datalayer.schema.knowledge import (
    RUNS,
    data_sources,
    documents,
    passage_vectors,
    passages,
    training_sources,
    trainings,
)
from datalayer.schema.rows import columns, record_of

_DONE = (
    select(func.count()).where(training_sources.c.trainingId == trainings.c.id).correlate(trainings).scalar_subquery()
)
_COLUMNS = [column for column in trainings.c if column.name != "wordCounts"]
_SETTINGS = ("model", "dimensions", "chunkTokens", "chunkOverlap", "chunker", "windowTokens")


def _of(row: RowMapping) -> Training:
    settings = None
    if row["model"] is not None:
        settings = TrainingSettings(*(row[name] for name in _SETTINGS))
    counts = TrainingCounts(
        row["documents"],
        row["failedDocuments"],
        row["reusedDocuments"],
        row["passages"],
        row["vectors"],
        row["words"],
        row["characters"],
        row["tokens"],
        row["cost"],
    )
    return Training(
        row["id"],
        row["assistantId"],
        row["number"],
        row["state"],
        bool(row["isCurrent"]),
        row["createdAt"],
        row["startedBy"],
        row["startedAt"],
        row["finishedAt"],
        settings,
        counts,
        row["threshold"],
        row["expectedSources"],
        row["done"],
        row["error"],
        None if row["suggestions"] is None else tuple(row["suggestions"]),
        row["failure"],
    )


def _selected() -> Select[Any]:
    return select(*_COLUMNS, _DONE.label("done"))


def is_part(table: Table, training: Training) -> ColumnElement[bool]:
    """Whether a row of `documents` or `passage_vectors` is part of the training."""
    return and_(
        table.c.assistantId == training.assistant_id,
        table.c.since <= training.number,
        or_(table.c.until.is_(None), table.c.until > training.number),
    )


async def list_of(connection: AsyncConnection, assistant_id: str, limit: int) -> list[Training]:
    """The newest trainings of an assistant, newest first."""
    statement = _selected().where(trainings.c.assistantId == assistant_id).order_by(trainings.c.number.desc())
    return [_of(row) for row in (await connection.execute(statement.limit(limit))).mappings()]


async def get(connection: AsyncConnection, training_id: str) -> Training | None:
    """The training; while it runs, with what it has counted so far."""
    row = (await connection.execute(_selected().where(trainings.c.id == training_id))).mappings().first()
    return None if row is None else _of(row)


async def current(connection: AsyncConnection, assistant_id: str) -> Training | None:
    """The training that answers."""
    statement = _selected().where(trainings.c.assistantId == assistant_id, trainings.c.isCurrent)
    row = (await connection.execute(statement)).mappings().first()
    return None if row is None else _of(row)


async def word_counts(connection: AsyncConnection, training_id: str) -> bytes | None:
    statement = select(trainings.c.wordCounts).where(trainings.c.id == training_id)
    found: bytes | None = (await connection.execute(statement)).scalar()
    return found


async def start(
    connection: AsyncConnection, dialect: Dialect, training_id: str, assistant_id: str, started_by: str | None
) -> None:
    """Add a new training.

    Raises:
        AlreadyExists: another one runs.
    """
    running = select(trainings.c.id).where(trainings.c.assistantId == assistant_id, RUNS)
    if (found := (await connection.execute(running)).scalar()) is not None:
        raise AlreadyExists(f"the training {found} of the assistant {assistant_id} runs")
    newest = select(func.coalesce(func.max(trainings.c.number), 0)).where(trainings.c.assistantId == assistant_id)
    number = (await connection.execute(newest)).scalar_one() + 1
    statement = dialect.insert(trainings).values(
        id=training_id,
        assistantId=assistant_id,
        number=number,
        state="new",
        isCurrent=False,
        createdAt=utc_now(),
        startedBy=started_by,
        cost=Decimal(0),
    )
    # Another process may have started one since; the indexes of the table refuse the second.
    if not (await connection.execute(statement.on_conflict_do_nothing())).rowcount:
        raise AlreadyExists(f"another training of the assistant {assistant_id} was started at the same moment")


async def begin(connection: AsyncConnection, training_id: str, settings: TrainingSettings, expected: int) -> bool:
    """Note that a training begins, or goes on in another process; False if it has ended."""
    begun = await connection.execute(
        update(trainings)
        .where(trainings.c.id == training_id, RUNS)
        .values(
            state="training",
            startedAt=func.coalesce(trainings.c.startedAt, utc_now()),
            model=settings.model,
            dimensions=settings.dimensions,
            chunkTokens=settings.chunk_tokens,
            chunkOverlap=settings.chunk_overlap,
            chunker=settings.chunker,
            windowTokens=settings.window_tokens,
            expectedSources=expected,
        )
    )
    return bool(begun.rowcount)


async def end(
    connection: AsyncConnection,
    training_id: str,
    state: TrainingState,
    error: str | None = None,
    failure: dict[str, Any] | None = None,
) -> bool:
    """End a training that runs, so that the current one stays; False if none of this id runs."""
    ended = await connection.execute(
        update(trainings)
        .where(trainings.c.id == training_id, RUNS)
        .values(state=state, error=error, failure=failure, finishedAt=utc_now())
    )
    return bool(ended.rowcount)


async def running(connection: AsyncConnection, training_id: str) -> Training:
    """The training, if it runs, without the number of sources that are done.

    Raises:
        NotRunning: it was cancelled, has ended or does not exist.
    """
    statement = select(*_COLUMNS, literal(0).label("done"))
    row = (await connection.execute(statement.where(trainings.c.id == training_id))).mappings().first()
    if row is None:
        raise NotRunning(f"the training {training_id} does not exist any more")
    if row["state"] != "training":
        raise NotRunning(f"the training {training_id} does not run: its state is {row['state']!r}")
    return _of(row)


async def swap(connection: AsyncConnection, training_id: str, threshold: float, counts: bytes) -> bool:
    """Make a training answer in place of the current one; False if it does not run any more.

    Documents that it did not find in their sources, and those of deleted sources, are not part of it.
    """
    training = await get(connection, training_id)
    if training is None:
        return False
    number, assistant_id = training.number, training.assistant_id
    ended = update(trainings).where(trainings.c.id == training_id, trainings.c.state == "training")
    if not (await connection.execute(ended.values(state="success", finishedAt=utc_now()))).rowcount:
        return False
    left = (
        documents.c.assistantId == assistant_id,
        documents.c.until.is_(None),
        or_(documents.c.seen < number, documents.c.sourceId.not_in(select(data_sources.c.id))),
    )
    of_left = select(passages.c.id).join(documents, documents.c.id == passages.c.documentId).where(*left)
    await connection.execute(
        update(passage_vectors).where(passage_vectors.c.passageId.in_(of_left)).values(until=number)
    )
    await connection.execute(update(documents).where(*left).values(until=number))
    totals = select(
        func.count(),
        func.count().filter(documents.c.since < number),
        *(
            func.coalesce(func.sum(column), 0)
            for column in (documents.c.passages, documents.c.words, documents.c.characters)
        ),
    ).where(documents.c.assistantId == assistant_id, documents.c.until.is_(None))
    vectors = select(func.count()).where(
        passage_vectors.c.assistantId == assistant_id, passage_vectors.c.until.is_(None)
    )
    of_documents = (await connection.execute(totals)).one()
    failed = select(func.coalesce(func.sum(training_sources.c.failedDocuments), 0)).where(
        training_sources.c.trainingId == training_id
    )
    before = update(trainings).where(trainings.c.assistantId == assistant_id, trainings.c.isCurrent)
    await connection.execute(before.values(isCurrent=False))
    names = ("documents", "reusedDocuments", "passages", "words", "characters")
    await connection.execute(
        update(trainings)
        .where(trainings.c.id == training_id)
        .values(
            isCurrent=True,
            threshold=threshold,
            wordCounts=counts,
            vectors=(await connection.execute(vectors)).scalar_one(),
            failedDocuments=(await connection.execute(failed)).scalar_one(),
            **{name: int(value) for name, value in zip(names, of_documents, strict=True)},
        )
    )
    return True


async def note(
    connection: AsyncConnection,
    training_id: str,
    *,
    documents: int = 0,
    passages: int = 0,
    tokens: int | None = 0,
    cost: Decimal | None = Decimal(0),
) -> None:
    """Add to what a training has counted so far, which `swap` counts exactly, and to what embedding has cost.

    An unknown cost makes the sum unknown.
    """
    added = {"documents": documents, "passages": passages, "tokens": tokens or 0}
    await connection.execute(
        update(trainings)
        .where(trainings.c.id == training_id)
        .values(
            {name: trainings.c[name] + count for name, count in added.items()}
            | {"cost": None if cost is None else trainings.c.cost + cost}
        )
    )


async def keep_source(connection: AsyncConnection, training_id: str, result: SourceResult, options: Any) -> None:
    """Store what a training took of a source, in place of an earlier result."""
    of_source = (training_sources.c.trainingId == training_id, training_sources.c.sourceId == result.source_id)
    await connection.execute(delete(training_sources).where(*of_source))
    await connection.execute(
        insert(training_sources).values(
            trainingId=training_id,
            sourceId=result.source_id,
            title=result.title,
            sha256=result.sha256,
            loader=result.loader,
            options=options,
            taken=result.taken,
            refused=result.refused,
            documents=result.documents,
            failedDocuments=result.failed_documents,
            fetch=result.fetch,
        )
    )


async def sources_of(
    connection: AsyncConnection, training_id: str, source_ids: Collection[str] | None
) -> dict[str, tuple[SourceResult, Any]]:
    """What a training took of each source so far, and the options of that moment, by the source's id.

    Args:
        source_ids: only of these; None: of all.
    """
    found = columns(SourceResult, training_sources)
    statement = select(*found, training_sources.c.options).where(training_sources.c.trainingId == training_id)
    if source_ids is not None:
        statement = statement.where(training_sources.c.sourceId.in_(source_ids))
    rows: Sequence[RowMapping] = (await connection.execute(statement)).mappings().all()
    return {row["sourceId"]: (record_of(SourceResult, training_sources, row), row["options"]) for row in rows}


async def keep_suggestions(connection: AsyncConnection, training_id: str, suggestions: Sequence[str]) -> bool:
    """Store the questions of a training that has succeeded; False if there is none."""
    succeeded = update(trainings).where(trainings.c.id == training_id, trainings.c.state == "success")
    return bool((await connection.execute(succeeded.values(suggestions=list(suggestions)))).rowcount)


async def suggestions_of(connection: AsyncConnection, assistant_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The questions of the trainings that answer, by assistant; assistants without questions are missing."""
    statement = select(trainings.c.assistantId, trainings.c.suggestions).where(
        trainings.c.assistantId.in_(assistant_ids), trainings.c.isCurrent
    )
    return {row[0]: tuple(row[1]) for row in await connection.execute(statement) if row[1]}


async def remove_old(connection: AsyncConnection, assistant_id: str, keep: int) -> int:
    """Delete the trainings of an assistant that ended before the newest `keep` successful ones, with the documents
    that only they contain; gives how many trainings were deleted."""
    newest = (
        select(trainings.c.number)
        .where(trainings.c.assistantId == assistant_id, trainings.c.state == "success")
        .order_by(trainings.c.number.desc())
        .limit(1)
        .offset(keep - 1)
    )
    oldest = (await connection.execute(newest)).scalar()
    if oldest is None:
        return 0
    gone = (documents.c.assistantId == assistant_id, documents.c.until <= oldest)
    await connection.execute(delete(documents).where(*gone))
    older = (trainings.c.assistantId == assistant_id, trainings.c.number < oldest, ~trainings.c.isCurrent, ~RUNS)
    return (await connection.execute(delete(trainings).where(*older))).rowcount
