"""The tables of usage and billing: calls to models, payloads, prices, projects, limits and reservations."""

from decimal import Decimal

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    false,
    literal_column,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from datalayer.schema.chat import Identifier, Json, Tags, metadata
from datalayer.schema.ddl import follow


class _WholePicodollars(TypeDecorator[Decimal]):
    """Money on an engine without exact decimals: a whole number of 10^-12 dollars, up to nine million dollars."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, _dialect: Dialect) -> int | None:
        return None if value is None else int(value.scaleb(12).to_integral_value())

    def process_result_value(self, value: int | None, _dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value).scaleb(-12)


# US dollars with twelve decimal places: a token can cost 0.00000001 dollars.
Money: TypeEngine[Decimal] = Numeric(24, 12).with_variant(_WholePicodollars(), "sqlite")


class _AsText(TypeDecorator[Decimal]):
    """An exact decimal that the engine stores but never computes with."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, _dialect: Dialect) -> str | None:
        return None if value is None else f"{value:f}"

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


# A number of tokens can be larger than `Money` can hold on SQLite.
Amount: TypeEngine[Decimal] = Numeric(24, 12).with_variant(_AsText(), "sqlite")

# A row for each call to a model. It outlives its user, thread and step, because its cost was billed; deleting them sets
# the ids to NULL.
llm_calls = Table(
    "llm_calls",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("projectId", Identifier, ForeignKey("projects.id", ondelete="SET NULL")),
    Column("provider", Text),
    Column("deployment", Text),
    Column("userId", Identifier),
    Column("threadId", Identifier),
    Column("stepId", Identifier),
    Column("assistant", Text),
    Column("kind", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("answeredBy", Text),
    Column("attempt", Integer, nullable=False),
    Column("isStreaming", Boolean, nullable=False),
    Column("statusCode", Integer),
    Column("errorKind", Text),
    Column("errorMessage", Text),
    Column("finishReason", Text),
    Column("promptTokens", BigInteger),
    Column("completionTokens", BigInteger),
    Column("cachedTokens", BigInteger),
    Column("reasoningTokens", BigInteger),
    Column("isEstimated", Boolean, nullable=False),
    Column("queryCharacters", BigInteger, nullable=False),
    Column("responseCharacters", BigInteger, nullable=False),
    Column("requestedAt", Text, nullable=False),
    Column("respondedAt", Text),
    Column("seconds", Float),
    Column("firstTokenSeconds", Float),
    Column("tokensPerSecond", Float),
    Column("inputCost", Money),
    Column("outputCost", Money),
    Column("totalCost", Money),
    Column("price", Json),
    Column("tags", Tags),
    Column("library", Text),
    Column("operatingSystem", Text),
    Column("assistantVersion", Integer),
    # The API key of the program that made the call. No other table is referenced: a key of a deleted user is gone.
    Column("keyId", Identifier),
)
# Of the time alone: of an index of several columns, Postgres expects that the rows are scattered, however they lie, and
# then reads the calls of all years for those of a month.
Index("llm_calls_by_time", llm_calls.c.requestedAt)
Index("llm_calls_of_user", llm_calls.c.userId, llm_calls.c.requestedAt, llm_calls.c.id)
Index("llm_calls_of_project", llm_calls.c.projectId, llm_calls.c.requestedAt)
Index("llm_calls_of_thread", llm_calls.c.threadId)
# Holds the few calls that have not ended (`records.usage.IN_PROGRESS`).
_in_progress = llm_calls.c.finishReason == literal_column("'in_progress'")
Index("llm_calls_in_progress", llm_calls.c.id, sqlite_where=_in_progress, postgresql_where=_in_progress)
_HAS_KEY = text('"keyId" IS NOT NULL')
Index(
    "llm_calls_of_key",
    llm_calls.c.keyId,
    llm_calls.c.requestedAt,
    postgresql_where=_HAS_KEY,
    sqlite_where=_HAS_KEY,
)

# The messages of a call. They are deleted with the thread, with the user, and by retention. `createdAt` is the time of
# the call. Postgres has a partition for each month (`dialects.postgresql_partitions`), so that retention drops it, and
# one for all other times, so that no payload is ever refused. A key of a partitioned table contains that time.
llm_call_payloads = Table(
    "llm_call_payloads",
    metadata,
    Column("callId", Identifier, ForeignKey("llm_calls.id", ondelete="CASCADE")),
    Column("messages", Json),
    Column("response", Text),
    Column("createdAt", Text, nullable=False),
    PrimaryKeyConstraint("callId").ddl_if(dialect="sqlite"),
    postgresql_partition_by='RANGE ("createdAt")',
)
Index("llm_call_payloads_by_age", llm_call_payloads.c.createdAt)
follow(
    llm_call_payloads,
    "after_create",
    (
        """ALTER TABLE llm_call_payloads ADD CONSTRAINT llm_call_payloads_pkey PRIMARY KEY ("callId", "createdAt")""",
        "CREATE TABLE llm_call_payloads_other PARTITION OF llm_call_payloads DEFAULT",
    ),
    "postgresql",
)

projects = Table(
    "projects",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False, unique=True),
    Column("description", Text),
    Column("tags", Tags),
    Column("ownerId", Identifier, ForeignKey("users.id", ondelete="SET NULL")),
    Column("organisation", Text),
    Column("createdAt", Text, nullable=False),
)

# `secret` names the environment variable that holds a key, never the key.
providers = Table(
    "providers",
    metadata,
    Column("projectId", Identifier, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("slug", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("baseUrl", Text),
    Column("deployment", Text),
    Column("description", Text),
    Column("secret", Text),
    Column("passesKey", Boolean, nullable=False, server_default=false()),
)

# The operator's prices in US dollars per million tokens. A price that calls may have used is never changed; a new price
# replaces it from its `validFrom` on.
prices = Table(
    "prices",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("provider", Text),
    Column("pattern", Text, nullable=False),
    Column("validFrom", Text, nullable=False),
    Column("input", Money, nullable=False),
    Column("cached", Money),
    Column("output", Money, nullable=False),
    Column("image", Money),
    Column("isActive", Boolean, nullable=False),
    Column("createdAt", Text, nullable=False),
)

usage_limits = Table(
    "usage_limits",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("subjectId", Identifier),
    Column("period", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("amount", Amount, nullable=False),
    Column("createdAt", Text, nullable=False),
)

# The most that calls in progress can use, so that two concurrent calls cannot exceed a limit together. A row is deleted
# when its call ends. An expired row no longer counts, because its process has ended.
usage_reservations = Table(
    "usage_reservations",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("userId", Identifier),
    Column("projectId", Identifier),
    Column("tokens", BigInteger, nullable=False),
    Column("cost", Money),
    Column("expiresAt", Text, nullable=False),
    Column("keyId", Identifier),
)
