"""SQL of what the installation remembers, and of its first steps."""

from typing import Any

from sqlalchemy import exists, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_now
from datalayer.dialects import Dialect
from datalayer.records.installation import FirstSteps
from datalayer.schema.assistants import assistant_versions, assistants
from datalayer.schema.chat import users
from datalayer.schema.installation import installation_facts
from datalayer.schema.usage import llm_calls, usage_limits

BACKUP, FIRST_STEPS = "backup", "first_steps"
_facts = installation_facts.c


async def get(connection: AsyncConnection, name: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = (await connection.execute(select(_facts.value).where(_facts.name == name))).scalar()
    return found


async def put(connection: AsyncConnection, dialect: Dialect, name: str, value: dict[str, Any]) -> None:
    """Store the value, in place of an earlier one."""
    values = {"value": value, "changedAt": utc_now()}
    statement = dialect.insert(installation_facts).values(name=name, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=[_facts.name], set_=values))


async def first_steps(connection: AsyncConnection) -> FirstSteps:
    """The first steps, in one statement."""
    answered = exists().where(
        llm_calls.c.kind == "chat", llm_calls.c.errorKind.is_(None), llm_calls.c.completionTokens > 0
    )
    two = select(literal_column("1")).select_from(users).where(users.c.disabledAt.is_(None)).limit(2).subquery()
    made = exists().where(
        assistants.c.id == assistant_versions.c.assistantId,
        assistants.c.deletedAt.is_(None),
        assistant_versions.c.savedBy.is_not(None),
    )
    facts = [
        select(_facts.value).where(_facts.name == name).scalar_subquery().label(name) for name in (BACKUP, FIRST_STEPS)
    ]
    people = select(func.count()).select_from(two).scalar_subquery()
    statement = select(answered, people, exists(select(usage_limits.c.id)), made, *facts)
    answers, count, limit, assistant, backup, shown = (await connection.execute(statement)).one()
    return FirstSteps(bool(answers), count > 1, bool(limit), bool(assistant), backup, shown or {})
