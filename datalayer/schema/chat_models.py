"""The tables of what admins decide about the models of the chat: one row a model, one a named user.

A model without a row is as the setting OPENAI_MODELS says.
"""

from sqlalchemy import Boolean, Column, ForeignKey, Index, Table, Text

from datalayer.schema.chat import Identifier, metadata

# `access` is for whom the model is in the picker: "everyone", "role", "users" or "nobody"; NULL as the setting says.
chat_models = Table(
    "chat_models",
    metadata,
    Column("name", Text, primary_key=True),
    Column("access", Text),
    Column("role", Text),
    Column("isDefault", Boolean, nullable=False),
    Column("changedAt", Text, nullable=False),
)

chat_model_users = Table(
    "chat_model_users",
    metadata,
    Column("model", Text, ForeignKey("chat_models.name", ondelete="CASCADE"), primary_key=True),
    Column("userId", Identifier, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
)
Index("chat_models_of_user", chat_model_users.c.userId)

CHAT_MODEL_TABLES = (chat_models, chat_model_users)
