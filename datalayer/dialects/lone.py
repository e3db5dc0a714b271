"""A write that is alone in the queue, as one statement of the driver's that is a transaction by itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

UNDECIDED: Final = object()
"""What `LoneStatement.result` gives if the rows do not tell what became of the write; then the longer way follows."""


@dataclass(slots=True)  # not frozen, which would take three times as long to make
class LoneStatement:
    """One statement that stores a write, or changes nothing."""

    sql: str
    """For Postgres's protocol: the parameters are `$1`, `$2` and so on."""
    values: Sequence[Any]
    """In the forms of the driver without codecs: JSON as text; an id is a text here and a UUID object in a row."""
    result: Callable[[Sequence[Any]], Any]
    """The result of the write, or UNDECIDED, from the rows of the statement."""
