"""Records and Chainlit's dictionaries to items and back. A key of a dictionary is an attribute of the same name."""

from collections.abc import Callable, Mapping
from typing import Any

from datalayer.chainlit_dicts import ELEMENT_COLUMNS, element_dict_of, thread_dict_of
from datalayer.dynamodb.items import Item, attributes_of, from_attribute, text_of, values_of
from datalayer.dynamodb.keys import ELEMENT, STEP, thread_of, vote_id
from datalayer.records.chat import Element, Step, Thread
from datalayer.schema.chat import elements, steps
from datalayer.schema.rows import given

BYTE_SIZE, SHA256 = "tk:byteSize", "tk:sha256"
_OWN_OF_ELEMENTS = {"byteSize": BYTE_SIZE, "sha256": SHA256}
_STEP: dict[str, Any] = {
    **dict.fromkeys(column.name for column in steps.columns if column.name not in ("extra", "updatedAt")),
    **{"name": "", "type": "undefined", "streaming": False, "disableFeedback": False, "input": "", "output": ""},
}


def step_attributes(step: Step) -> Item:
    """The attributes of the fields that the record gives, without its ids."""
    values = given(step, steps)
    shown = values.get("showInput")
    if shown in ("true", "false"):
        # The record has the two booleans as these texts; the texts themselves are in `extra`.
        values["showInput"] = shown == "true"
    return _attributes(values, step.extra)


def step_dict(item: Item) -> dict[str, Any]:
    """The StepDict of a step."""
    found = _STEP | values_of(item)
    vote, value = found.get("feedback"), vote_of(item)
    found["id"], found["threadId"] = _id_of(item, STEP), thread_of(item)
    found["metadata"] = {} if found["metadata"] is None else found["metadata"]
    found["feedback"] = None
    if isinstance(vote, dict) and value is not None:
        found["feedback"] = {
            **{"forId": found["id"], "id": vote_id(found["threadId"], found["id"])},
            **{"value": value, "comment": vote.get("comment")},
        }
    return found


def vote_of(step: Item) -> int | None:
    """The value of the vote on a step, or None."""
    vote = from_attribute(step["feedback"]) if "feedback" in step else None
    value = vote.get("value") if isinstance(vote, dict) else None
    return None if value is None else int(value)


def element_attributes(element: Element) -> Item:
    """The attributes of the fields that the record gives, without its ids."""
    values = given(element, elements)
    own = {name: values.pop(column) for column, name in _OWN_OF_ELEMENTS.items() if column in values}
    return _attributes(values, element.extra) | {
        name: {"N" if name == BYTE_SIZE else "S": str(one)} for name, one in own.items()
    }


def element_dict(item: Item, file_url: Callable[[Element], str] | None) -> dict[str, Any]:
    """The ElementDict of an element."""
    return element_dict_of(_element_values(item), file_url)


def element_of_item(item: Item) -> Element:
    """The record of an element."""
    return Element(*map(_element_values(item).__getitem__, ELEMENT_COLUMNS))


def _element_values(item: Item) -> dict[str, Any]:
    values = values_of(item)
    # Keys of an application's own that have the names of our columns are extra.
    known = [name for name in ELEMENT_COLUMNS if name not in ("extra", *_OWN_OF_ELEMENTS)]
    found: dict[str, Any] = dict.fromkeys(ELEMENT_COLUMNS) | {name: values.pop(name, None) for name in known}
    found |= {column: from_attribute(item[name]) if name in item else None for column, name in _OWN_OF_ELEMENTS.items()}
    found["id"], found["threadId"], found["name"] = _id_of(item, ELEMENT), thread_of(item), found["name"] or ""
    found["extra"] = values or None
    return found


def thread_record(item: Item) -> Thread:
    """The record of a thread."""
    values = values_of(item)
    return Thread(
        id=thread_of(item),
        created_at=_text(values, "createdAt"),
        updated_at=activity_of(item) or None,
        name=_text(values, "name"),
        user_id=_text(values, "userId"),
        user_identifier=owner_of(item),
        tags=values.get("tags"),
        metadata=values.get("metadata") if isinstance(values.get("metadata"), dict) else None,
    )


def thread_dict(item: Item) -> dict[str, Any]:
    """The ThreadDict of a thread, without steps and elements."""
    return thread_dict_of(thread_record(item))


def owner_of(item: Item) -> str | None:
    """The identifier of the owner of a thread."""
    return text_of(item, "userIdentifier")


def activity_of(item: Item) -> str:
    """The time of the last activity of a thread, or ""."""
    return (text_of(item, "UserThreadSK") or "").removeprefix("TS#")


def _attributes(values: Mapping[str, Any], extra: Mapping[str, Any] | None) -> Item:
    columns = {name: value for name, value in values.items() if name not in ("id", "threadId", "extra")}
    return attributes_of({**columns, **(extra or {})})


def _id_of(item: Item, beginning: str) -> str:
    return str(item["SK"]["S"]).removeprefix(beginning)


def _text(values: Mapping[str, Any], name: str) -> str | None:
    found = values.get(name)
    return found if isinstance(found, str) else None
