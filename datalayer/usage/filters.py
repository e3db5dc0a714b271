"""Filters of calls as SQL conditions, restricted to the calls that the actor may see."""

from collections.abc import Iterable

from sqlalchemy import (
    ColumnElement,
    Integer,
    Text,
    and_,
    cast,
    exists,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
)

from datalayer.cleaning import clean_text, clean_time, known_id
from datalayer.dialects import Dialect
from datalayer.ownership import Actor, calls_readable_by
from datalayer.records.usage import CallFilter
from datalayer.schema.usage import llm_calls, projects

# Constants in the SQL text: as parameters they would differ in SELECT and GROUP BY, and Postgres compares the texts.
_NONE, _CLASS, _ERRORS = (literal_column(text, Integer) for text in ("0", "100", "400"))
STATUS_CLASS: ColumnElement[int] = func.coalesce(llm_calls.c.statusCode // _CLASS, _NONE)
HAS_FAILED: ColumnElement[bool] = or_(
    llm_calls.c.errorKind.is_not(None), func.coalesce(llm_calls.c.statusCode, _NONE) >= _ERRORS
)
TOKENS: ColumnElement[int] = func.coalesce(llm_calls.c.promptTokens, _NONE) + func.coalesce(
    llm_calls.c.completionTokens, _NONE
)
VERSION: ColumnElement[str] = (
    llm_calls.c.assistant + literal_column("'@'", Text) + cast(llm_calls.c.assistantVersion, Text)
)
"""The assistant with its version, as `Assistant.reference`."""
PROVIDER_MODEL: ColumnElement[str] = llm_calls.c.provider + literal_column("'.'", Text) + llm_calls.c.model
"""The provider and the model, as in `CallFilter.provider_models`."""
IS_UNPRICED: ColumnElement[bool] = and_(llm_calls.c.totalCost.is_(None), TOKENS > _NONE)


def matching(dialect: Dialect, which: CallFilter, actor: Actor) -> ColumnElement[bool]:
    """The condition on `llm_calls` for calls that match the filter and that the actor may see.

    Raises:
        InvalidRecord: a time is not valid.
    """
    calls = llm_calls.c
    conditions = [calls_readable_by(actor)]
    if (since := clean_time(which.since, "begin")) is not None:
        conditions.append(calls.requestedAt >= since)
    if (until := clean_time(which.until, "end")) is not None:
        conditions.append(calls.requestedAt < until)
    for column, ids in (
        (calls.projectId, which.project_ids),
        (calls.userId, which.user_ids),
        (calls.keyId, which.key_ids),
    ):
        if ids:
            known = [one for one in map(known_id, ids) if one is not None]
            conditions.append(column.in_(known) if known else false())
    for text_column, texts in (
        (calls.provider, which.providers),
        (calls.model, which.models),
        (calls.assistant, which.assistants),
        (calls.kind, which.kinds),
        (VERSION, which.versions),
        (PROVIDER_MODEL, which.provider_models),
    ):
        if texts:
            conditions.append(text_column.in_(_clean(texts)))
    if which.statuses:
        conditions.append(STATUS_CLASS.in_(which.statuses))
    if which.project_slugs:
        of_slugs = select(projects.c.id).where(projects.c.slug.in_(_clean(which.project_slugs)))
        conditions.append(calls.projectId.in_(of_slugs))
    for tags in (which.tags, *((one,) for one in which.all_tags)):
        if tags:
            each = dialect.each(calls.tags)
            conditions.append(exists(select(literal(1)).select_from(each).where(each.c.value.in_(_clean(tags)))))
    return and_(*conditions)


def _clean(texts: Iterable[str]) -> list[str]:
    return [clean_text(str(one)) for one in texts]
