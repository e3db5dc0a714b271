"""What DynamoDB has no place for: tables of SQL, by the feature they belong to (docs/dynamodb.md)."""

from sqlalchemy import ColumnElement, Table, func, select

from datalayer.database import Database
from datalayer.schema import assistants, chat_models, jobs, keys, knowledge, people, prompts, review, usage
from datalayer.schema.chat import (
    IS_TEMPORARY,
    credentials,
    elements,
    feedbacks,
    logins,
    metadata,
    steps,
    threads,
    users,
)

# The modules above register their tables.
_FEATURES = (assistants, chat_models, jobs, keys, knowledge, people, prompts, review, usage)

NOT_MOVED: dict[str, tuple[str, ...]] = {
    "accounts and logins": (credentials.name, logins.name, "invitations"),
    "usage": ("llm_calls", "llm_call_payloads"),
    "prices and limits": ("prices", "projects", "providers", "usage_limits", "usage_reservations"),
    "review": (
        *("verdicts", "verdict_changes", "review_items", "review_views", "thread_marks", "thread_origins"),
        *("audit_entries", "audit_retentions"),
    ),
    "assistants": ("assistants", "assistant_users", "assistant_versions", "assistant_pictures"),
    "knowledge": (*("data_sources", "documents", "passages", "passage_vectors", "trainings", "training_sources"),),
    "jobs": ("jobs",),
    "API keys": ("api_keys",),
    "prompts": ("prompts",),
    "models on offer": ("chat_models", "chat_model_users"),
    "earlier versions of messages": ("step_versions",),
}
"""The tables of each feature whose rows stay behind."""

DERIVED = frozenset(
    {
        *("search_texts", "search_pending", "search_backlog", "review_answers", "review_pending", "folder_counts"),
        *("api_key_rates", "api_replies", "turn_claims", "job_elections", "job_replicas", "installation_facts"),
        "threadkeeper_migrations",
    }
)
"""Tables that the application fills again, or of this moment."""

_SOME: dict[str, tuple[Table, ColumnElement[bool]]] = {
    "roles and disabled accounts": (users, (users.c.role != "user") | users.c.disabledAt.is_not(None)),
    "temporary threads": (threads, IS_TEMPORARY),
    "elements without a thread": (elements, elements.c.threadId.is_(None)),
    "votes of others than the owner of the thread": (
        feedbacks,
        select(threads.c.id)
        .where(threads.c.id == feedbacks.c.threadId, threads.c.userId.is_distinct_from(feedbacks.c.userId))
        .correlate(feedbacks)
        .exists(),
    ),
    "votes on steps that do not exist": (
        feedbacks,
        ~select(steps.c.id)
        .where(steps.c.id == feedbacks.c.forId, steps.c.threadId == feedbacks.c.threadId)
        .correlate(feedbacks)
        .exists(),
    ),
}
"""Rows of tables that are moved."""


async def count(database: Database) -> dict[str, int]:
    """The number of rows that stay behind, by feature; features without rows are left out."""
    found: dict[str, int] = {}
    async with database.read() as connection:
        for feature, names in NOT_MOVED.items():
            for name in names:
                statement = select(func.count()).select_from(metadata.tables[name])
                found[feature] = found.get(feature, 0) + (await connection.execute(statement)).scalar_one()
        for what, (table, condition) in _SOME.items():
            statement = select(func.count()).select_from(table).where(condition)
            found[what] = (await connection.execute(statement)).scalar_one()
    return {what: number for what, number in found.items() if number}
