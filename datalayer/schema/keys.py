"""The tables of API keys."""

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, Table, Text

from datalayer.schema.chat import Identifier, Json, Tags, metadata

# Only a hash of the secret is stored. The secret is random, so a fast hash is enough: nobody can guess one to try.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("userId", Identifier, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("secretHash", Text, nullable=False, unique=True),
    Column("projectId", Identifier, ForeignKey("projects.id", ondelete="SET NULL")),
    Column("scopes", Tags, nullable=False),
    Column("models", Tags, nullable=False),
    Column("requestsPerMinute", Integer),
    Column("tokensPerMinute", Integer),
    Column("createdAt", Text, nullable=False),
    Column("expiresAt", Text),
    Column("lastUsedAt", Text),
    Column("revokedAt", Text),
)
Index("api_keys_of_user", api_keys.c.userId, api_keys.c.createdAt)

# The generic cell rate algorithm: `fullAt` is when nothing of the rate is taken any more. Times are seconds since 1970
# by the clock of the database. `wasTaken` is whether the latest request was allowed.
api_key_rates = Table(
    "api_key_rates",
    metadata,
    Column("keyId", Identifier, ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("askedAt", Float, nullable=False),
    Column("fullAt", Float, nullable=False),
    Column("wasTaken", Boolean, nullable=False),
)

# The first answer to a request with an `Idempotency-Key` (`name`), for a day. `status` is NULL while it is being
# answered. It goes with its thread, because it can contain a message.
api_replies = Table(
    "api_replies",
    metadata,
    Column("keyId", Identifier, ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("status", Integer),
    Column("headers", Json),
    Column("body", Text),
    Column("threadId", Identifier),
    Column("createdAt", Text, nullable=False),
)
Index("api_replies_of_thread", api_replies.c.threadId)
Index("api_replies_by_time", api_replies.c.createdAt)

KEY_TABLES = (api_keys, api_key_rates)
