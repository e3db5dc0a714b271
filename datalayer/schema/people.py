"""The table of invitations."""

from sqlalchemy import Column, ForeignKey, Table, Text

from datalayer.schema.chat import Identifier, metadata

# At most one open invitation of each user; a new one replaces it. Only a hash of the secret is stored, as of API keys.
invitations = Table(
    "invitations",
    metadata,
    Column("userId", Identifier, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("secretHash", Text, nullable=False, unique=True),
    Column("createdAt", Text, nullable=False),
    Column("expiresAt", Text, nullable=False),
)
