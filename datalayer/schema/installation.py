"""The table of what the installation remembers: a JSON value by its name."""

from sqlalchemy import Column, Table, Text

from datalayer.schema.chat import Json, metadata

installation_facts = Table(
    "installation_facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Json, nullable=False),
    Column("changedAt", Text, nullable=False),
)
