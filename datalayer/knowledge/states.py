"""SQL of what assistants know, in numbers, for several assistants at once. The database counts: no source is read."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import ColumnElement, FromClause, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.records.knowledge import KnowledgeState
from datalayer.schema.knowledge import data_sources, training_sources, trainings

# A source that was deleted while it was trained is no part of the training.
_IS_PART = func.coalesce(training_sources.c.refused, "") != "deleted"


async def of_assistants(connection: AsyncConnection, assistant_ids: Sequence[str]) -> dict[str, KnowledgeState]:
    """The state of each of these assistants."""
    there = await _counted(
        connection, data_sources.c.assistantId, data_sources, data_sources.c.assistantId.in_(assistant_ids)
    )
    changed = await _changed(connection, assistant_ids)
    newest = (
        select(trainings.c.assistantId, func.max(trainings.c.number).label("number"))
        .where(trainings.c.assistantId.in_(assistant_ids))
        .group_by(trainings.c.assistantId)
        .subquery()
    )
    names = ("assistantId", "number", "state", "isCurrent", "documents", "finishedAt")
    statement = (
        select(*(trainings.c[name] for name in names), newest.c.number.label("newest"))
        .join(newest, newest.c.assistantId == trainings.c.assistantId)
        .where(or_(trainings.c.isCurrent, trainings.c.number == newest.c.number))
    )
    rows = (await connection.execute(statement)).mappings().all()
    states = {}
    for one in assistant_ids:
        current = next((row for row in rows if row["assistantId"] == one and row["isCurrent"]), None)
        last = next((row for row in rows if row["assistantId"] == one and row["number"] == row["newest"]), None)
        states[one] = KnowledgeState(
            there[one],
            changed[one],
            current["documents"] if current else 0,
            current["finishedAt"] if current else None,
            last["state"] if last else None,
        )
    return states


async def _changed(connection: AsyncConnection, assistant_ids: Sequence[str]) -> Counter[str]:
    """How many sources are not as the training that answers has them: new, changed, or deleted."""
    # Tables alone are joined, by their keys: a subquery would be written out, and searched without an index.
    is_current = and_(trainings.c.assistantId == data_sources.c.assistantId, trainings.c.isCurrent)
    is_result = and_(
        training_sources.c.trainingId == trainings.c.id, training_sources.c.sourceId == data_sources.c.id, _IS_PART
    )
    compared = ("title", "sha256", "options")
    differs = (training_sources.c[name].is_distinct_from(data_sources.c[name]) for name in compared)
    now = await _counted(
        connection,
        data_sources.c.assistantId,
        data_sources.outerjoin(trainings, is_current).outerjoin(training_sources, is_result),
        data_sources.c.assistantId.in_(assistant_ids),
        or_(training_sources.c.sourceId.is_(None), *differs),
    )
    of_training = trainings.join(training_sources, training_sources.c.trainingId == trainings.c.id)
    is_source = and_(
        data_sources.c.id == training_sources.c.sourceId, data_sources.c.assistantId == trainings.c.assistantId
    )
    gone = await _counted(
        connection,
        trainings.c.assistantId,
        of_training.outerjoin(data_sources, is_source),
        trainings.c.assistantId.in_(assistant_ids),
        trainings.c.isCurrent,
        _IS_PART,
        data_sources.c.id.is_(None),
    )
    return now + gone


async def _counted(
    connection: AsyncConnection, assistant_id: ColumnElement[str], rows: FromClause, *where: ColumnElement[bool]
) -> Counter[str]:
    """How many rows each assistant has; none for those that have none."""
    statement = select(assistant_id, func.count()).select_from(rows).where(*where).group_by(assistant_id)
    return Counter({row[0]: row[1] for row in await connection.execute(statement)})
