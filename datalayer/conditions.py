"""Conditions of changes: what the stored record must be like, checked in the transaction of the change."""

from collections.abc import Callable
from typing import TypeVar

from datalayer.errors import NotFound, RecordChanged

T = TypeVar("T")

Condition = Callable[[T], bool]


def demand_unchanged(found: T | None, only_if: Condition[T] | None, what: str) -> None:
    """Require that a record, which is locked until the transaction ends, is as the condition wants it.

    Raises:
        NotFound: it was deleted.
        RecordChanged: it is another.
    """
    if only_if is None:
        return
    if found is None:
        raise NotFound(f"{what} does not exist any more")
    if not only_if(found):
        raise RecordChanged(f"{what} was changed meanwhile")
