"""The tables of usage: what is kept of each call to a model, and what calls cost, belong to and may come to."""

from decimal import Decimal

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, Numeric, Table, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from datalayer.schema.chat import Identifier, Json, Tags, metadata


class _WholePicodollars(TypeDecorator[Decimal]):
    """Money where the engine has no exact fractions: a whole number of 10^-12 dollars, up to nine million dollars."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, _dialect: Dialect) -> int | None:
        return None if value is None else int(value.scaleb(12).to_integral_value())

    def process_result_value(self, value: int | None, _dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value).scaleb(-12)


# US dollars with twelve digits after the point: a token may cost a hundredth of a millionth of a dollar.
Money: TypeEngine[Decimal] = Numeric(24, 12).with_variant(_WholePicodollars(), "sqlite")


class _AsText(TypeDecorator[Decimal]):
    """An exact number that is read and written, and never reckoned with by the engine."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, _dialect: Dialect) -> str | None:
        return None if value is None else f"{value:f}"

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


# Of tokens there may be more than `Money` has room for on SQLite.
Amount: TypeEngine[Decimal] = Numeric(24, 12).with_variant(_AsText(), "sqlite")

# A row for each call to a model. What it is about may go, with the bill left: removal takes the ids out.
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
)
Index("llm_calls_in_order", llm_calls.c.requestedAt, llm_calls.c.id)
Index("llm_calls_of_user", llm_calls.c.userId, llm_calls.c.requestedAt, llm_calls.c.id)
Index("llm_calls_of_project", llm_calls.c.projectId, llm_calls.c.requestedAt)
Index("llm_calls_of_thread", llm_calls.c.threadId)

# What was said in a call. It goes with its thread and its user, and when its time is up.
llm_call_payloads = Table(
    "llm_call_payloads",
    metadata,
    Column("callId", Identifier, ForeignKey("llm_calls.id", ondelete="CASCADE"), primary_key=True),
    Column("messages", Json),
    Column("response", Text),
    Column("createdAt", Text, nullable=False),
)
Index("llm_call_payloads_by_age", llm_call_payloads.c.createdAt)

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
)

# The operator's own prices, US dollars for a million tokens. A price is never changed once calls may have used it: a
# new one takes over at its `validFrom`.
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

# What calls under way may come to at most, so that two at once cannot overspend. A row goes with its call's end, and
# counts no more once its time is up: its process is gone.
usage_reservations = Table(
    "usage_reservations",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("userId", Identifier),
    Column("projectId", Identifier),
    Column("tokens", BigInteger, nullable=False),
    Column("cost", Money),
    Column("expiresAt", Text, nullable=False),
)
