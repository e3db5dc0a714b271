"""Whether two stored values are the same, whatever the database made of their numbers."""

from collections.abc import Collection, Mapping
from typing import Any

from datalayer.dynamodb.items import Item, from_attribute


def alike(one: Any, other: Any) -> bool:
    """Whether two values of JSON are the same. A database may give a float back as an integer."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(alike(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) or isinstance(other, float):
        return _is_number(one) and _is_number(other) and _float(one) == _float(other)
    return bool(one == other)


def alike_in(one: Mapping[str, Any], other: Mapping[str, Any], ignored: Collection[str] = ()) -> bool:
    """Whether two rows agree in the columns of the first."""
    return all(alike(value, other[name]) for name, value in one.items() if name not in ignored)


def is_same(one: Item, other: Item, ignored: Collection[str] = ()) -> bool:
    """Whether two items have the same values."""
    return alike(_values(one, ignored), _values(other, ignored))


def _values(item: Item, ignored: Collection[str]) -> dict[str, Any]:
    # An attribute without a value, which Chainlit's own layer needs, says the same as none.
    found = {name: from_attribute(value) for name, value in item.items() if name not in ignored}
    return {name: value for name, value in found.items() if value is not None}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
