"""SQL of what the installation remembers, and of its first steps."""

from typing import Any

from sqlalchemy import exists, func, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import utc_now
from datalayer.dialects import Dialect
from datalayer.records.installation import DatabaseFacts, FirstSteps, Replica
from datalayer.schema.assistants import assistant_versions, assistants
from datalayer.schema.chat import users
from datalayer.schema.installation import installation_facts
from datalayer.schema.jobs import job_replicas
from datalayer.schema.usage import llm_calls, usage_limits

BACKUP, FIRST_STEPS = "backup", "first_steps"
_facts = installation_facts.c
_OF_DATABASE = {
    "postgresql": "SELECT 'PostgreSQL ' || current_setting('server_version'), pg_database_size(current_database())",
    "sqlite": "SELECT 'SQLite ' || sqlite_version(), page_count * page_size FROM pragma_page_count, pragma_page_size",
}


async def held(connection: AsyncConnection, dialect: Dialect, name: str) -> dict[str, Any]:
    """The value, empty at first, locked until the transaction ends: of two changes at once, none is lost."""
    empty = dialect.insert(installation_facts).values(name=name, value={}, changedAt=utc_now())
    await connection.execute(empty.on_conflict_do_nothing())
    found: dict[str, Any] = (
        await connection.execute(select(_facts.value).where(_facts.name == name).with_for_update())
    ).scalar_one()
    return found


async def put(connection: AsyncConnection, dialect: Dialect, name: str, value: dict[str, Any]) -> None:
    """Store the value, in place of an earlier one."""
    values = {"value": value, "changedAt": utc_now()}
    statement = dialect.insert(installation_facts).values(name=name, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=[_facts.name], set_=values))


async def first_steps(connection: AsyncConnection) -> FirstSteps:
    """The first steps, in one statement."""
    answered = exists().where(
        llm_calls.c.kind.in_(("chat", "try")), llm_calls.c.errorKind.is_(None), llm_calls.c.completionTokens > 0
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


async def of_database(connection: AsyncConnection, dialect: Dialect) -> DatabaseFacts:
    """Version and size, in one statement."""
    return DatabaseFacts(*(await connection.execute(text(_OF_DATABASE[dialect.name]))).one())


async def replicas(connection: AsyncConnection, dialect: Dialect) -> list[Replica]:
    """The processes that run jobs, by name."""
    ago = dialect.clock - job_replicas.c.seenAt
    rows = await connection.execute(select(job_replicas.c.name, ago).order_by(job_replicas.c.name))
    return [Replica(name, max(float(seconds), 0.0)) for name, seconds in rows]
