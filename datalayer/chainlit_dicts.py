"""Chainlit's dictionaries to records and back, without loss.

A key that has a column goes there if its value is of the column's kind. Everything else (a key that no column
knows, a value of another kind) is kept in `extra` and comes back on reading, so that a newer Chainlit, or an
application that adds keys of its own, loses nothing here. `extra` has the latest value of each of its keys: a later
write that has a value for the column removes the key from `extra`.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Integer, Table

from datalayer.cleaning import MAPPINGS, clean_id, clean_json, clean_text, clean_time, is_kept_time, known_id
from datalayer.errors import InvalidRecord
from datalayer.history.thread_reads import WholeThread
from datalayer.records.chat import Element, Feedback, Step, Thread
from datalayer.schema.chat import Json, Tags, elements, steps
from datalayer.schema.rows import OURS, column_names

_LARGEST_INTEGER = 2**31 - 1
_KINDLESS = object()
# Tuples, as in `cleaning`.
_TIMES, _LISTS, _IDS = (str, datetime), (list, tuple), (str, UUID)
_ELEMENT_NAMES = column_names(Element, elements)
ELEMENT_COLUMNS = tuple(_ELEMENT_NAMES.values())
"""The columns of the fields of an `Element`, in their order."""


def step_of(step_dict: Mapping[str, Any]) -> Step:
    """The record of a StepDict. Its `feedback` is left out: votes are cast by `upsert_feedback` alone.

    Raises:
        InvalidRecord: `id` or `threadId` is no UUID.
    """
    return Step(
        id=clean_id(step_dict.get("id"), "step id"),
        thread_id=clean_id(step_dict.get("threadId"), "thread id of a step"),
        **_fields(_STEP_CONVERTERS, step_dict),
    )


def element_of(element_dict: Mapping[str, Any]) -> Element:
    """The record of an ElementDict, without the keys that its sender must not set.

    These are `path`, which is valid only on this machine and temporarily, and `objectKey`, because a sender that
    names a file in the store could read it. The code that stores the bytes sets the key.

    Raises:
        InvalidRecord: `id` or `threadId` is no UUID.
    """
    thread_id = element_dict.get("threadId")
    return Element(
        id=clean_id(element_dict.get("id"), "element id"),
        thread_id=clean_id(thread_id, "thread id of an element") if thread_id else None,
        **_fields(_ELEMENT_CONVERTERS, element_dict),
    )


def step_dict_of(found: dict[str, Any], vote: Feedback | None) -> dict[str, Any]:
    """The StepDict of a step that was read, by column name: the same dictionary, made complete."""
    # Before `extra` is merged, where "true" and "false" are texts.
    shown = found["showInput"]
    if shown == "true" or shown == "false":  # noqa: PLR1714  the quicker way to ask
        found["showInput"] = shown == "true"
    _complete(found)
    if found["metadata"] is None:
        found["metadata"] = {}
    if found["input"] is None:
        found["input"] = ""
    if found["output"] is None:
        found["output"] = ""
    found["feedback"] = None if vote is None else feedback_dict_of(vote)
    return found


def element_dict_of(found: dict[str, Any], file_url: Callable[[Element], str] | None) -> dict[str, Any]:
    """The ElementDict of an element that was read, by column name: the same dictionary, made complete.

    If its bytes are stored, `url` is the link that `file_url` makes.
    """
    link = None
    if found["objectKey"] and file_url is not None:
        link = file_url(Element(*map(found.__getitem__, ELEMENT_COLUMNS)))
    # No keys of Chainlit's; an application's own keys of these names are in `extra`.
    del found["byteSize"], found["sha256"]
    _complete(found)
    if link is not None:
        found["url"] = link
    if found["type"] == "custom" and found["props"] is None:
        found["props"] = {}
    return found


def feedback_dict_of(feedback: Feedback) -> dict[str, Any]:
    return {"forId": feedback.for_id, "id": feedback.id, "value": feedback.value, "comment": feedback.comment}


def thread_dict_of(thread: Thread) -> dict[str, Any]:
    """The ThreadDict of a record, without steps and elements."""
    return {
        "id": thread.id,
        "createdAt": thread.created_at or "",
        "name": thread.name,
        "userId": thread.user_id,
        "userIdentifier": thread.user_identifier,
        "tags": thread.tags,
        "metadata": thread.metadata or {},
        "steps": [],
        "elements": [],
    }


def marks_of(thread: Thread) -> dict[str, Any]:
    """What Chainlit's ThreadDict lacks: the last activity, and since when or until when the thread is in a list."""
    return {
        "updatedAt": thread.updated_at,
        "pinnedAt": thread.pinned_at,
        "archivedAt": thread.archived_at,
        "expiresAt": thread.expires_at,
    }


def listed_thread_dict_of(thread: Thread) -> dict[str, Any]:
    """The ThreadDict for a list, with the last activity as `createdAt`, because Chainlit's page sorts by this key."""
    return thread_dict_of(thread) | {"createdAt": thread.updated_at or thread.created_at or ""}


def whole_thread_dict_of(whole: WholeThread, file_url: Callable[[Element], str] | None) -> dict[str, Any]:
    """The ThreadDict of a thread with its steps and elements."""
    vote_on = whole.votes.get
    return thread_dict_of(whole.thread) | {
        "steps": [step_dict_of(step, vote_on(step["id"])) for step in whole.steps],
        "elements": [element_dict_of(element, file_url) for element in whole.elements],
    }


def _complete(found: dict[str, Any]) -> None:
    """Move the keys of `extra` to the top: they were written later than the columns of the same names."""
    extra = found.pop("extra")
    if extra:
        found.update(extra)


Converter = Callable[[Any], Any]
"""Gives a value, which is not None, as its column takes it, or _KINDLESS."""


def _fields(converters: Mapping[str, tuple[str, Converter] | None], values: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in values.items():
        if value is None or (known := converters.get(key, _NO_COLUMN)) is None:
            continue
        stored = known[1](value)
        if stored is not _KINDLESS:
            fields[known[0]] = stored
        elif (other := clean_json(value)) is not None and (key, other) != ("createdAt", ""):
            extra[clean_text(str(key))] = other
    if extra:
        fields["extra"] = extra
    return fields


def _kindless(_value: Any) -> Any:
    return _KINDLESS


def _text(value: Any) -> Any:
    if type(value) is str and value.isascii() and "\0" not in value:
        return value  # nearly always
    return clean_text(value) if isinstance(value, str) else _KINDLESS


def _boolean(value: Any) -> Any:
    return value if isinstance(value, bool) else _KINDLESS


def _integer(value: Any) -> Any:
    is_integer = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_INTEGER
    return value if is_integer else _KINDLESS


def _object(value: Any) -> Any:
    return clean_json(value) if isinstance(value, MAPPINGS) else _KINDLESS


def _tags(value: Any) -> Any:
    is_tags = isinstance(value, _LISTS) and all(isinstance(tag, str) for tag in value)
    return [clean_text(tag) for tag in value] if is_tags else _KINDLESS


def _id(value: Any) -> Any:
    return (isinstance(value, _IDS) and known_id(value)) or _KINDLESS


def _time(value: Any) -> Any:
    if type(value) is str and is_kept_time(value):
        return value  # nearly always
    if not isinstance(value, _TIMES):
        return _KINDLESS
    try:
        return clean_time(value, "time") or _KINDLESS
    except InvalidRecord:
        return _KINDLESS


def _shown_input(value: Any) -> Any:
    # The column has "true" and "false" for the two booleans, so the same words as texts are kept in `extra`.
    if isinstance(value, bool):
        return str(value).lower()
    return _KINDLESS if value in ("true", "false") else _text(value)


def _converter(table: Table, column: str) -> Converter:
    if column in _CONVERTERS_BY_NAME:
        return _CONVERTERS_BY_NAME[column]
    kind = table.c[column].type
    if kind is Json:
        return _object
    if kind is Tags:
        return _tags
    if isinstance(kind, Boolean):
        return _boolean
    return _integer if isinstance(kind, Integer) else _text


def _converters(record_type: type, table: Table, left_out: Collection[str]) -> dict[str, tuple[str, Converter] | None]:
    """Field and converter for each key that has a column; None for the keys to leave out."""
    names = column_names(record_type, table)
    known = {column: (field, _converter(table, column)) for field, column in names.items() if column not in OURS}
    return known | dict.fromkeys(left_out)


_CONVERTERS_BY_NAME: dict[str, Converter] = {
    **dict.fromkeys(("parentId", "forId"), _id),
    **dict.fromkeys(("createdAt", "start", "end"), _time),
    "showInput": _shown_input,
}
_NO_COLUMN: tuple[str, Converter] = ("extra", _kindless)
_STEP_CONVERTERS = _converters(Step, steps, ("id", "threadId", "feedback"))
_ELEMENT_CONVERTERS = _converters(Element, elements, ("id", "threadId", "path", "objectKey"))
