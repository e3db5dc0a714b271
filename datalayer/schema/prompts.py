"""The table of prompts: texts that users keep to ask them again."""

from sqlalchemy import Boolean, Column, ForeignKey, Index, Table, Text, UniqueConstraint

from datalayer.schema.chat import Identifier, metadata

prompts = Table(
    "prompts",
    metadata,
    Column("id", Identifier, primary_key=True),
    Column("ownerId", Identifier, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("isShared", Boolean, nullable=False),
    Column("updatedAt", Text, nullable=False),
    UniqueConstraint("ownerId", "name", name="one_prompt_of_a_name"),
)
Index("shared_prompts", prompts.c.name, postgresql_where=prompts.c.isShared, sqlite_where=prompts.c.isShared)
