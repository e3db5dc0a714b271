"""Values of Chainlit's dictionaries to DynamoDB's attributes and back, without loss.

boto's own serializer refuses floats and numbers of more than 38 digits, and knows nothing of the limits of names and of
nesting. Here a value that DynamoDB cannot hold is kept in another form, in a map with one key of ours:

- a number of more than 38 digits, or too large or too small, as text under `tk:number`;
- an object or list that is nested too deeply, as JSON under `tk:json`;
- a key that is empty, or that would be taken for one of ours, with `tk:key:` before it.

All attributes that are not keys of Chainlit's dictionaries begin with `tk:`, except those of the table's keys.
"""

import base64
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

OURS = "tk:"
_KEY, _NUMBER, _JSON = "tk:key:", "tk:number", "tk:json"
TABLE_KEYS = ("PK", "SK", "UserThreadPK", "UserThreadSK")

Attribute = dict[str, Any]
"""A value as DynamoDB's protocol writes it: `{"S": "text"}`."""
Item = dict[str, Attribute]

_MOST_DIGITS = 38
_LARGEST, _SMALLEST = 9.9e125, 1e-130
# DynamoDB allows 32 levels; a step's attribute is the first.
_DEEPEST = 24
_INTEGER = re.compile(r"-?[0-9]+")


def to_attribute(value: Any, depth: int = 0) -> Attribute:  # noqa: PLR0911  one for each kind of attribute
    """The attribute of a value that `cleaning.clean_json` has cleaned."""
    match value:
        case str():
            return {"S": value}
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case int() | float():
            return _number(value)
    if depth >= _DEEPEST:
        return {"M": {_JSON: {"S": json.dumps(value)}}}
    if isinstance(value, dict):
        return {"M": {escaped(key): to_attribute(inner, depth + 1) for key, inner in value.items()}}
    return {"L": [to_attribute(inner, depth + 1) for inner in value]}


def from_attribute(attribute: Attribute) -> Any:  # noqa: PLR0911  as above
    """The value of an attribute. Sets and bytes, which only other programs write, become lists and base64 text."""
    ((kind, value),) = attribute.items()
    match kind:
        case "S" | "BOOL":
            return value
        case "NULL":
            return None
        case "N":
            return _from_number(value)
        case "M":
            return _from_map(value)
        case "L":
            return [from_attribute(inner) for inner in value]
        case "B":
            return base64.b64encode(value).decode()
        case _:
            return [from_attribute({kind[0]: inner}) for inner in value]


def escaped(key: str) -> str:
    """The name under which a key of a dictionary is stored."""
    return _KEY + key if not key or key.startswith(OURS) else key


def attributes_of(values: Mapping[str, Any]) -> Item:
    """The attributes of a dictionary's keys, at the top of an item; those with the value None are left out."""
    return {top_name(key): to_attribute(value) for key, value in values.items() if value is not None}


def top_name(key: str) -> str:
    """As `escaped`, at the top of an item, where the table has keys of its own."""
    return _KEY + key if key in TABLE_KEYS else escaped(key)


def values_of(item: Mapping[str, Attribute]) -> dict[str, Any]:
    """The dictionary in an item, without the attributes of the table and of ours."""
    return {
        _unescaped(name): from_attribute(attribute)
        for name, attribute in item.items()
        if name not in TABLE_KEYS and (not name.startswith(OURS) or name.startswith(_KEY))
    }


def text_of(item: Mapping[str, Attribute], name: str) -> str | None:
    """The text of an attribute, or None if it is missing or no text."""
    return item.get(name, {}).get("S")


def size_of(attribute: Attribute) -> int:
    """About as many bytes as DynamoDB counts for the attribute, at least."""
    ((kind, value),) = attribute.items()
    if kind == "S":
        return len(value) if value.isascii() else len(value.encode())
    if kind == "M":
        return 3 + sum(len(name.encode()) + 1 + size_of(inner) for name, inner in value.items())
    if kind == "L":
        return 3 + sum(1 + size_of(inner) for inner in value)
    return 21


def _unescaped(name: str) -> str:
    return name.removeprefix(_KEY)


def _number(value: int | float) -> Attribute:
    if isinstance(value, int):
        text = str(value)
        fits = len(text.lstrip("-")) <= _MOST_DIGITS
    else:
        text = repr(value)
        # DynamoDB gives 2.0**60 back as 1152921504606847000, the shortest digits of the float and not its value.
        is_exact = not value.is_integer() or int(Decimal(text)) == int(value)
        fits = value == 0 or (_SMALLEST < abs(value) < _LARGEST and is_exact)
    return {"N": text} if fits else {"M": {_NUMBER: {"S": text}}}


def _from_number(text: str) -> int | float:
    if _INTEGER.fullmatch(text):
        return int(text)
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _from_map(value: Mapping[str, Attribute]) -> Any:
    if len(value) == 1:
        if _NUMBER in value:
            text = value[_NUMBER]["S"]
            return int(text) if _INTEGER.fullmatch(text) else float(text)
        if _JSON in value:
            return json.loads(value[_JSON]["S"])
    return {_unescaped(name): from_attribute(inner) for name, inner in value.items()}
