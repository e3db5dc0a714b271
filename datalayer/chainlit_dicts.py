"""Chainlit's dictionaries to records and back, without loss.

A key that has a column goes there if its value is of the column's kind. Everything else (a key that no column
knows, a value of another kind) is kept in `extra` and comes back on reading, so that a newer Chainlit, or an
application that adds keys of its own, loses nothing here. What is in `extra` is what was said last of its key: a later
write that has a value for the column takes the key out of it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Integer, Table

from datalayer.cleaning import clean_id, clean_json, clean_text, clean_time, known_id
from datalayer.errors import InvalidRecord
from datalayer.records import Element, Feedback, Step, Thread
from datalayer.rows import OURS, column_names
from datalayer.schema import Json, Tags, elements, steps

_LARGEST_INTEGER = 2**31 - 1
_KINDLESS = object()
_TIMES = {"createdAt", "start", "end"}
_IDS = {"parentId", "forId"}
_STEP_KEYS = (
    *("id", "name", "type", "threadId", "parentId", "command", "modes", "streaming", "waitForAnswer", "isError"),
    *("metadata", "tags", "input", "output", "createdAt", "start", "end", "generation", "showInput"),
    *("defaultOpen", "autoCollapse", "language"),
)
_ELEMENT_KEYS = (
    *("id", "threadId", "type", "chainlitKey", "url", "objectKey", "name", "display", "size", "language", "page"),
    *("props", "autoPlay", "playerConfig", "forId", "mime"),
)


def step_of(step_dict: Mapping[str, Any]) -> Step:
    """The record of a StepDict. Its `feedback` is left out: votes are cast by `upsert_feedback` alone.

    Raises:
        InvalidRecord: `id` or `threadId` is no UUID.
    """
    return Step(
        id=clean_id(step_dict.get("id"), "step id"),
        thread_id=clean_id(step_dict.get("threadId"), "thread id of a step"),
        **_fields(Step, steps, {key: value for key, value in step_dict.items() if key != "feedback"}),
    )


def element_of(element_dict: Mapping[str, Any]) -> Element:
    """The record of an ElementDict, without what is not for its sender to say.

    That is its `path`, which is of this machine and of this moment, and its `objectKey`: whoever could name a file in
    the store could read it. The store's key is given by whoever stores the bytes.

    Raises:
        InvalidRecord: `id` or `threadId` is no UUID.
    """
    thread_id = element_dict.get("threadId")
    return Element(
        id=clean_id(element_dict.get("id"), "element id"),
        thread_id=clean_id(thread_id, "thread id of an element") if thread_id else None,
        **_fields(
            Element, elements, {key: value for key, value in element_dict.items() if key not in ("path", "objectKey")}
        ),
    )


def step_dict_of(step: Step) -> dict[str, Any]:
    """The StepDict of a record, with every key that Chainlit's page looks for."""
    found = _dict(step, steps, _STEP_KEYS)
    empty = {"metadata": {}, "input": "", "output": ""}
    found |= {key: value for key, value in empty.items() if found[key] is None}
    if "showInput" not in (step.extra or {}) and step.show_input in ("true", "false"):
        found["showInput"] = step.show_input == "true"
    found["feedback"] = feedback_dict_of(step.feedback) if step.feedback else None
    return found


def element_dict_of(element: Element, file_url: Callable[[Element], str] | None) -> dict[str, Any]:
    """The ElementDict of a record; where its bytes are stored, `url` is the link that `file_url` makes."""
    found = _dict(element, elements, _ELEMENT_KEYS)
    if element.object_key and file_url is not None:
        found["url"] = file_url(element)
    if element.type == "custom" and found["props"] is None:
        found["props"] = {}
    return found


def feedback_dict_of(feedback: Feedback) -> dict[str, Any]:
    return {"forId": feedback.for_id, "id": feedback.id, "value": feedback.value, "comment": feedback.comment}


def thread_dict_of(thread: Thread, file_url: Callable[[Element], str] | None) -> dict[str, Any]:
    """The ThreadDict of a record, with its steps and elements."""
    return {
        "id": thread.id,
        "createdAt": thread.created_at or "",
        "name": thread.name,
        "userId": thread.user_id,
        "userIdentifier": thread.user_identifier,
        "tags": thread.tags,
        "metadata": thread.metadata or {},
        "steps": [step_dict_of(step) for step in thread.steps],
        "elements": [element_dict_of(element, file_url) for element in thread.elements],
    }


def _fields(record_type: type, table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    field_of = {column: field for field, column in column_names(record_type, table).items()}
    fields: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in values.items():
        if value is None or key in ("id", "threadId") or (key, value) == ("createdAt", ""):
            continue
        stored = _stored(table, key, value)
        if stored is not _KINDLESS:
            fields[field_of[key]] = stored
        elif (other := clean_json(value)) is not None:
            extra[clean_text(key)] = other
    return fields | ({"extra": extra} if extra else {})


def _stored(table: Table, key: str, value: Any) -> Any:
    """The value as the column of this key takes it, or _KINDLESS."""
    if key in OURS or key not in table.c:
        return _KINDLESS
    kind = table.c[key].type
    if key in _IDS:
        return (isinstance(value, str | UUID) and known_id(value)) or _KINDLESS
    if key in _TIMES:
        return _time(value, key) or _KINDLESS
    if key == "showInput" and (isinstance(value, bool) or value in ("true", "false")):
        return str(value).lower() if isinstance(value, bool) else _KINDLESS
    return _plain(kind, value)


def _time(value: Any, key: str) -> str | None:
    try:
        return clean_time(value, key) if isinstance(value, str | datetime) else None
    except InvalidRecord:
        return None


def _plain(kind: Any, value: Any) -> Any:
    if kind is Json:
        return clean_json(value) if isinstance(value, Mapping) else _KINDLESS
    if kind is Tags:
        is_tags = isinstance(value, list | tuple) and all(isinstance(tag, str) for tag in value)
        return [clean_text(tag) for tag in value] if is_tags else _KINDLESS
    if isinstance(kind, Boolean):
        return value if isinstance(value, bool) else _KINDLESS
    if isinstance(kind, Integer):
        is_integer = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_INTEGER
        return value if is_integer else _KINDLESS
    return clean_text(value) if isinstance(value, str) else _KINDLESS


def _dict(record: Any, table: Table, keys: tuple[str, ...]) -> dict[str, Any]:
    columns = {
        column: getattr(record, field)
        for field, column in column_names(type(record), table).items()
        if column not in OURS or column in ("id", "threadId")
    }
    kept = {column: value for column, value in columns.items() if value is not None}
    return dict.fromkeys(keys) | kept | (record.extra or {})
