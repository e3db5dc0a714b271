"""The numbers of an assistant, from the index of answers: by version, and of all versions together."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.records.assistants import AssistantNumbers, AssistantUse, version_of_reference
from datalayer.schema.review import answers


async def of_assistant(connection: AsyncConnection, slug: str) -> AssistantNumbers:
    """The numbers of the answers of the assistant with this slug."""
    total = _use(None, (await connection.execute(_statement(slug))).one())
    version = answers.c.assistantVersion
    rows = (await connection.execute(_statement(slug, version).group_by(version))).all()
    by_version = [_use(_number(row[-1], slug), row) for row in rows]
    by_version.sort(key=lambda one: -1 if one.version is None else one.version, reverse=True)
    return AssistantNumbers(total, tuple(by_version))


def _statement(slug: str, *others: ColumnElement[Any]) -> Select[Any]:
    def count(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.count(case((condition, 1)))

    return select(
        func.count(answers.c.threadId.distinct()),
        func.count(),
        count(answers.c.thumb == 1),
        count(answers.c.thumb == 0),
        count(answers.c.isUnknown.is_(true())),
        func.sum(answers.c.cost, type_=answers.c.cost.type),
        *others,
    ).where(answers.c.assistant == slug)


def _use(version: int | None, row: Sequence[Any]) -> AssistantUse:
    return AssistantUse(version, *row[:6])


def _number(reference: str | None, slug: str) -> int | None:
    found = version_of_reference(reference or "")
    return found[1] if found is not None and found[0] == slug else None
