"""The table of the threads in which a turn is running."""

from sqlalchemy import Boolean, Column, Float, Table, Text, false

from datalayer.schema.chat import Identifier, metadata

# A thread without a row, or with one that has ended, can begin a turn. `until` is in seconds since 1970 by the clock of
# the database. The thread itself may not be stored yet. `isStopping` asks the process of the turn to stop it.
turn_claims = Table(
    "turn_claims",
    metadata,
    Column("threadId", Identifier, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Float, nullable=False),
    Column("isStopping", Boolean, nullable=False, server_default=false()),
)
