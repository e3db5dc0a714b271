"""SQL of lists of data sources in pages: those of an assistant, and what a training took of its sources."""

from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, and_, case, literal, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer import cursors
from datalayer.cleaning import clean_text, clean_time, known_id
from datalayer.dialects import Dialect
from datalayer.records.knowledge import DataSource, ListedSource, ResultPage, SourcePage, SourceResult
from datalayer.schema.knowledge import data_sources, training_sources, trainings
from datalayer.schema.rows import columns, record_of

_RESULT = "result "
"""Before the names of the columns of a result, of which some are those of a source."""
_REFUSED_FIRST = case((training_sources.c.refused.is_(None), 1), else_=0)


async def page_of_sources(
    connection: AsyncConnection, dialect: Dialect, assistant_id: str, *, title: str, cursor: str | None, limit: int
) -> SourcePage:
    """A page of the sources of an assistant, newest first, with what the training that answers took of each.

    Args:
        title: a part of the title; "" for all sources.

    Raises:
        InvalidRecord: the cursor is not valid.
    """
    statement = _listed(assistant_id).where(data_sources.c.assistantId == assistant_id)
    if title:
        statement = statement.where(dialect.has_part(data_sources.c.title, title))
    if cursor is not None:
        moment, source_id = cursors.decode(cursor, "sources", lambda text: clean_time(text, "cursor"), known_id)
        earlier = and_(data_sources.c.createdAt == moment, data_sources.c.id < source_id)
        statement = statement.where(or_(data_sources.c.createdAt < moment, earlier))
    statement = statement.order_by(data_sources.c.createdAt.desc(), data_sources.c.id.desc()).limit(limit + 1)
    found = [_of(row) for row in (await connection.execute(statement)).mappings()]
    last = found[limit - 1].source if len(found) > limit else None
    return SourcePage(tuple(found[:limit]), cursors.encode("sources", last.created_at or "", last.id) if last else None)


async def listed(connection: AsyncConnection, assistant_id: str, source_id: str) -> ListedSource | None:
    """The source of an assistant, as in a page; None if the assistant has none of this id."""
    of_assistant: tuple[ColumnElement[bool], ...] = (
        data_sources.c.id == source_id,
        data_sources.c.assistantId == assistant_id,
    )
    row = (await connection.execute(_listed(assistant_id).where(*of_assistant))).mappings().first()
    return None if row is None else _of(row)


async def page_of_results(
    connection: AsyncConnection, training_id: str, *, cursor: str | None, limit: int
) -> ResultPage:
    """A page of what a training took of its sources: refused ones first, then by title.

    Raises:
        InvalidRecord: the cursor is not valid.
    """
    order = (_REFUSED_FIRST, training_sources.c.title, training_sources.c.sourceId)
    statement = select(*columns(SourceResult, training_sources)).where(training_sources.c.trainingId == training_id)
    if cursor is not None:
        rank, title, source_id = cursors.decode(cursor, "results", {"0": 0, "1": 1}.get, clean_text, known_id)
        last = (literal(rank), literal(title), literal(source_id, training_sources.c.sourceId.type))
        statement = statement.where(tuple_(*order) > tuple_(*last))
    rows = (await connection.execute(statement.order_by(*order).limit(limit + 1))).mappings()
    found = [record_of(SourceResult, training_sources, row) for row in rows]
    following = None
    if len(found) > limit:
        end = found[limit - 1]
        following = cursors.encode("results", str(int(end.refused is None)), end.title, end.source_id)
    return ResultPage(tuple(found[:limit]), following)


def _listed(assistant_id: str) -> Select[Any]:
    current = select(trainings.c.id).where(trainings.c.assistantId == assistant_id, trainings.c.isCurrent)
    of_source = and_(
        training_sources.c.sourceId == data_sources.c.id,
        training_sources.c.trainingId == current.scalar_subquery(),
    )
    return select(
        *columns(DataSource, data_sources),
        *columns(SourceResult, training_sources, _RESULT),
        training_sources.c.options.label("trained options"),
    ).select_from(data_sources.outerjoin(training_sources, of_source))


def _of(row: RowMapping) -> ListedSource:
    source = record_of(DataSource, data_sources, row)
    if row[f"{_RESULT}sourceId"] is None:
        return ListedSource(source)
    return ListedSource(source, record_of(SourceResult, training_sources, row, _RESULT), row["trained options"])
