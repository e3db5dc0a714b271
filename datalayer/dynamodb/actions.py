"""Actions of a transaction, as DynamoDB's protocol writes them, without the table: `{"Update": {"Key": …}}`."""

from collections.abc import Mapping, Sequence
from typing import Any

from datalayer.dynamodb.items import Attribute, Item
from datalayer.errors import InvalidRecord

Action = dict[str, dict[str, Any]]
MOST_INSIDE = 100
"""The most keys of map attributes that one action changes: DynamoDB takes expressions of at most `_LONGEST` bytes."""
_LONGEST = 4096


def put(item: Item) -> Action:
    return {"Put": {"Item": item}}


def delete(key: Item, condition: str | None = None, values: Mapping[str, Attribute] | None = None) -> Action:
    return {"Delete": {"Key": key, **_condition(condition, values)}}


def check(key: Item, condition: str, values: Mapping[str, Attribute] | None = None) -> Action:
    return {"ConditionCheck": {"Key": key, **_condition(condition, values)}}


def update(
    key: Item,
    *,
    sets: Mapping[str, Attribute],
    defaults: Mapping[str, Attribute] | None = None,
    removes: Sequence[str] = (),
    inside: Mapping[str, Mapping[str, Attribute | None]] | None = None,
    condition: str | None = None,
    values: Mapping[str, Attribute] | None = None,
    names: Mapping[str, str] | None = None,
) -> Action:
    """Set and remove attributes by name; the item is created if it does not exist.

    Args:
        defaults: attributes to set if they are missing.
        inside: changes of keys inside of map attributes; None removes a key.
        condition, values, names: a condition, and the values and names of its placeholders.

    Raises:
        InvalidRecord: there are too many attributes, or keys inside of them, for one expression.
    """
    placeholders: dict[str, str] = {name: place for place, name in (names or {}).items()}
    given: dict[str, Attribute] = dict(values or {})

    def named(name: str) -> str:
        return placeholders.setdefault(name, f"#n{len(placeholders)}")

    def valued(attribute: Attribute) -> str:
        given[place := f":v{len(given)}"] = attribute
        return place

    setting = [f"{named(name)}={valued(attribute)}" for name, attribute in sets.items()]
    for name, attribute in (defaults or {}).items():
        setting.append(f"{named(name)}=if_not_exists({named(name)},{valued(attribute)})")
    removing = [named(name) for name in removes]
    for name, changes in (inside or {}).items():
        for inner, changed in changes.items():
            path = f"{named(name)}.{named(inner)}"
            if changed is None:
                removing.append(path)
            else:
                setting.append(f"{path}={valued(changed)}")
    parts = (("SET", setting), ("REMOVE", removing))
    expression = " ".join(f"{word} {','.join(some)}" for word, some in parts if some)
    if len(expression) > _LONGEST:
        raise InvalidRecord(f"a record of {len(setting)} keys cannot be stored in DynamoDB: an expression has 4 KB")
    action: dict[str, Any] = {
        "Key": key,
        "UpdateExpression": expression,
        "ExpressionAttributeNames": {place: name for name, place in placeholders.items()},
        **_condition(condition, given),
    }
    return {"Update": action}


def _condition(condition: str | None, values: Mapping[str, Attribute] | None) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if condition is not None:
        result["ConditionExpression"] = condition
    if values:
        result["ExpressionAttributeValues"] = dict(values)
    return result
