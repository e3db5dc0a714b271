"""How far a database and its standbys are."""

from typing import NamedTuple

from sqlalchemy import Select


class LogPositions(NamedTuple):
    """Statements for positions in the log of a database, in bytes; whether it is a standby, and of what."""

    written: Select[tuple[int]]
    """On the primary."""
    replayed: Select[tuple[int]]
    """On a standby; on one that was promoted, how far its own log is written."""
    is_standby: Select[tuple[bool]]
    identity: Select[tuple[str]]
    """The same on a primary and its standbys, and different for every other database."""
