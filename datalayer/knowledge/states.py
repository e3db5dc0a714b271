"""SQL of what assistants know, in numbers, for several assistants at once."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.records.knowledge import KnowledgeState
from datalayer.schema.knowledge import data_sources, training_sources, trainings

_Source = tuple[str, str | None, Any]


async def of_assistants(connection: AsyncConnection, assistant_ids: Sequence[str]) -> dict[str, KnowledgeState]:
    """The state of each of these assistants."""
    there = await _sources(connection, assistant_ids)
    trained = await _trained(connection, assistant_ids)
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
        now, then = there[one], trained[one]
        changed = {source for source in now.keys() | then.keys() if now.get(source) != then.get(source)}
        states[one] = KnowledgeState(
            len(now),
            len(changed),
            current["documents"] if current else 0,
            current["finishedAt"] if current else None,
            last["state"] if last else None,
        )
    return states


async def _sources(connection: AsyncConnection, assistant_ids: Sequence[str]) -> dict[str, dict[str, _Source]]:
    """Title, checksum and options of each source, by assistant and source."""
    names = ("assistantId", "id", "title", "sha256", "options")
    columns = (data_sources.c[name] for name in names)
    statement = select(*columns).where(data_sources.c.assistantId.in_(assistant_ids))
    return _by_assistant((await connection.execute(statement)).all())


async def _trained(connection: AsyncConnection, assistant_ids: Sequence[str]) -> dict[str, dict[str, _Source]]:
    """Title, checksum and options of each source when the training began that answers, by assistant and source."""
    statement = (
        select(
            trainings.c.assistantId,
            training_sources.c.sourceId,
            training_sources.c.title,
            training_sources.c.sha256,
            training_sources.c.options,
        )
        .join(trainings, trainings.c.id == training_sources.c.trainingId)
        .where(trainings.c.assistantId.in_(assistant_ids), trainings.c.isCurrent)
        # A source that was deleted while it was trained is no part of the training.
        .where(func.coalesce(training_sources.c.refused, "") != "deleted")
    )
    return _by_assistant((await connection.execute(statement)).all())


def _by_assistant(rows: Sequence[Any]) -> dict[str, dict[str, _Source]]:
    found: dict[str, dict[str, _Source]] = defaultdict(dict)
    for assistant, source, *facts in rows:
        found[assistant][source] = tuple(facts)
    return found
