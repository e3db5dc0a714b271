"""The tables of assistants: one row an assistant, one a version, one a named user, one a picture."""

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text

from datalayer.schema.chat import Identifier, Json, metadata

# A deleted assistant keeps its row without contents, so that its slug, which names it in threads and calls, is never
# given to another one.
assistants = Table(
    "assistants",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("ownerId", Identifier, ForeignKey("users.id", ondelete="SET NULL")),
    Column("access", Text, nullable=False),
    Column("role", Text),
    Column("version", Integer, nullable=False),
    Column("createdAt", Text, nullable=False),
    Column("deletedAt", Text),
)
Index("assistants_of_owner", assistants.c.ownerId)

# A version is never changed. `savedBy` becomes NULL when that user is deleted.
assistant_versions = Table(
    "assistant_versions",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("assistantId", Identifier, ForeignKey("assistants.id", ondelete="CASCADE"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("settings", Json, nullable=False),
    Column("picture", Text),
    Column("savedAt", Text, nullable=False),
    Column("savedBy", Identifier),
    Column("restoredFrom", Integer),
)
Index("one_row_per_assistant_version", assistant_versions.c.assistantId, assistant_versions.c.version, unique=True)
Index("assistant_versions_of_picture", assistant_versions.c.picture)
Index("assistant_versions_of_user", assistant_versions.c.savedBy)

assistant_users = Table(
    "assistant_users",
    metadata,
    Column("assistantId", Identifier, ForeignKey("assistants.id", ondelete="CASCADE"), primary_key=True),
    Column("userId", Identifier, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
)
Index("assistants_of_user", assistant_users.c.userId)

# By the SHA-256 of the content, so that versions with the same picture share it. The content is Base64.
assistant_pictures = Table(
    "assistant_pictures",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("mediaType", Text, nullable=False),
    Column("content", Text, nullable=False),
)

ASSISTANT_TABLES = (assistants, assistant_versions, assistant_users, assistant_pictures)
