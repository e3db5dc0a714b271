"""Items of the table to rows of the SQL tables. Each function gives every column of its table that is copied.

All of them raise InvalidRecord if an item cannot be a row: its id is no UUID, or a value cannot be understood.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table

from datalayer.chainlit_dicts import element_of, step_of
from datalayer.cleaning import clean_id, clean_json, clean_text, clean_time, hashed_id, known_id
from datalayer.dynamodb import keys
from datalayer.dynamodb.changes import UPDATED
from datalayer.dynamodb.dicts import BYTE_SIZE, SHA256, activity_of, owner_of
from datalayer.dynamodb.items import OURS, TABLE_KEYS, Item, from_attribute, text_of, values_of
from datalayer.dynamodb.tables import EXPIRES
from datalayer.errors import InvalidRecord
from datalayer.history.deletion_marks import KEPT_SECONDS
from datalayer.schema.chat import elements, steps
from datalayer.schema.rows import given

Row = dict[str, Any]
UNREADABLE = (InvalidRecord, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)
"""What reading the item of another program may raise."""

# What a table of DynamoDB has no place for stands in attributes of ours.
USER_ID = f"{OURS}id"
PINNED, ARCHIVED = f"{OURS}pinnedAt", f"{OURS}archivedAt"
NO_THUMBS, INDENT = f"{OURS}disableFeedback", f"{OURS}indent"
VOTE = f"{OURS}vote"
"""Of a step: id, time and reasons of its vote, with its value."""
CHANGE_ID, VOTE_ID, REASONS = f"{OURS}id", f"{OURS}feedbackId", f"{OURS}reasons"
COPIED_FROM = f"{OURS}copiedFrom"
_FAVORITE = "favorite"
_OF_THREADS = {"id", "createdAt", "name", "userId", "userIdentifier", "tags", "metadata"}
_OF_USERS = {"id", "identifier", "createdAt", "metadata"}


def _empty(table: Table, **values: Any) -> Row:
    return {**dict.fromkeys(column.name for column in table.columns), **values}


_STEP = _empty(steps, name="", type="undefined", streaming=False, disableFeedback=False)
_ELEMENT = _empty(elements, name="")


def user_id_of(identifier: str) -> str:
    """The id in SQL of a user who has none yet: the same in each run."""
    return hashed_id(f"user {identifier}")


def name_of(item: Item) -> str:
    """The keys of an item, for people."""
    return f"{item['PK']['S']} {item['SK']['S']}"


def user_row(item: Item) -> Row:
    """The row of a user, without `nameKey`."""
    values = values_of(item)
    identifier = clean_text(identifier_of(item))
    metadata = values.get("metadata")
    return {
        "id": known_id(text_of(item, USER_ID)) or user_id_of(identifier),
        "identifier": identifier,
        "metadata": clean_json(metadata) if isinstance(metadata, dict) else {},
        "createdAt": readable_time(values.get("createdAt")),
    }


def identifier_of(item: Item) -> str:
    """The identifier of a user."""
    return str(item["PK"]["S"]).removeprefix("USER#")


def thread_row(item: Item) -> Row:
    """The row of a thread, without its owner's id."""
    values = values_of(item)
    tags, metadata, name = (values.get(key) for key in ("tags", "metadata", "name"))
    owner = owner_of(item) or text_of(item, "userId")
    return {
        "id": clean_id(keys.thread_of(item), "thread id"),
        "createdAt": readable_time(values.get("createdAt")),
        "updatedAt": readable_time(activity_of(item)),
        "name": clean_text(name) if isinstance(name, str) else None,
        "userIdentifier": clean_text(owner) if owner else None,
        "tags": [clean_text(str(tag)) for tag in tags] if isinstance(tags, list) else None,
        "metadata": clean_json(metadata) if isinstance(metadata, dict) else None,
        "pinnedAt": readable_time(text_of(item, PINNED)),
        "archivedAt": readable_time(text_of(item, ARCHIVED)),
    }


def readable_time(value: Any) -> str | None:
    """The time as it is stored in SQL, or None: a user or thread is more than its time."""
    try:
        return clean_time(value, "time")
    except InvalidRecord:
        return None


def without_column(item: Item) -> set[str]:
    """The keys of a user or thread that the SQL tables have no column for."""
    known = _OF_USERS if item["SK"]["S"] == "USER" else _OF_THREADS
    return {name for name in item if name not in known | set(TABLE_KEYS) and not name.startswith(OURS)}


def is_only_a_vote(item: Item) -> bool:
    """Whether this is the item that Chainlit's own layer makes for a vote on a step that does not exist."""
    return "feedback" in item and not item.keys() - {"PK", "SK", "feedback"}


def step_row(item: Item) -> Row:
    """The row of a step whose long texts are complete."""
    ids = {"id": str(item["SK"]["S"]).removeprefix(keys.STEP), "threadId": keys.thread_of(item)}
    record = step_of({**values_of(item), **ids})
    return {
        **_STEP,
        **given(record, steps),
        "updatedAt": clean_time(text_of(item, UPDATED), "time of an update"),
        "disableFeedback": bool(item.get(NO_THUMBS, {}).get("BOOL")),
        "indent": from_attribute(item[INDENT]) if INDENT in item else None,
    }


def favorite_of(step: Row) -> Any:
    """The mark of a favourite; None without one."""
    about = step["metadata"]
    return about.get(_FAVORITE) if isinstance(about, dict) else None


def with_favorite(step: Row, other: Row) -> Row:
    """The step with the mark of the other step."""
    if not isinstance(step["metadata"], dict | None):
        return step
    about = {name: value for name, value in (step["metadata"] or {}).items() if name != _FAVORITE}
    if (mark := favorite_of(other)) is not None:
        about[_FAVORITE] = mark
    return step | {"metadata": None if not about and other["metadata"] is None else about}


def vote_row(item: Item, changed_at: str | None) -> Row | None:
    """The row of the vote on a step, without the voter; None if there is none.

    Args:
        changed_at: the time of the last change in the history of the vote.
    """
    vote = from_attribute(item["feedback"]) if "feedback" in item else None
    if not isinstance(vote, dict) or vote.get("value") is None:
        return None
    if vote["value"] not in (0, 1):
        raise InvalidRecord(f"a vote has the value {str(vote['value'])[:20]!r}, and not 0 or 1")
    thread_id, step_id = keys.thread_of(item), str(item["SK"]["S"]).removeprefix(keys.STEP)
    kept: Mapping[str, Any] = from_attribute(item[VOTE]) if VOTE in item else {}
    moment = kept.get("updatedAt")
    is_same = kept.get("value") == vote["value"] and (changed_at is None or moment is None or changed_at <= moment)
    comment = vote.get("comment")
    return {
        "id": known_id(kept.get("id")) or vote_row_id(thread_id, step_id),
        "forId": clean_id(step_id, "step id"),
        "threadId": clean_id(thread_id, "thread id"),
        "value": int(vote["value"]),
        "comment": clean_text(comment) if isinstance(comment, str) else None,
        "updatedAt": clean_time((moment if is_same else None) or changed_at, "time of a vote"),
        "reasons": kept.get("reasons") if is_same else None,
    }


def vote_row_id(thread_id: str, step_id: str) -> str:
    """The id in SQL of the vote on a step that was cast in DynamoDB."""
    return hashed_id(keys.vote_id(thread_id, step_id))


def change_row(item: Item) -> tuple[Row, str | None]:
    """The row of a change of a vote, without the voter, and the identifier of the voter."""
    values = values_of(item)
    thread_id = keys.thread_of(item)
    step_id = str(item["SK"]["S"]).removeprefix(keys.CHANGE).partition("#")[0]
    value, comment, voter = (values.get(name) for name in ("value", "comment", "userId"))
    row = {
        "id": known_id(text_of(item, CHANGE_ID)) or hashed_id(f"{item['PK']['S']} {item['SK']['S']}"),
        "feedbackId": known_id(text_of(item, VOTE_ID)) or vote_row_id(thread_id, step_id),
        "forId": clean_id(step_id, "step id of a vote"),
        "threadId": clean_id(thread_id, "thread id"),
        "value": int(value) if value is not None else None,
        "comment": clean_text(comment) if isinstance(comment, str) else None,
        "changedAt": clean_time(values.get("changedAt"), "time of a vote"),
        "reasons": from_attribute(item[REASONS]) if REASONS in item else None,
    }
    return row, voter if isinstance(voter, str) else None


def element_row(item: Item) -> Row:
    """The row of an element."""
    values = values_of(item)
    ids = {"id": str(item["SK"]["S"]).removeprefix(keys.ELEMENT), "threadId": keys.thread_of(item)}
    object_key, size = values.get("objectKey"), item.get(BYTE_SIZE)
    record = replace(
        element_of({**values, **ids}),
        object_key=clean_text(object_key) if isinstance(object_key, str) and object_key else None,
        byte_size=from_attribute(size) if size is not None else None,
        sha256=text_of(item, SHA256),
    )
    return {**_ELEMENT, **given(record, elements)}


def mark_row(item: Item) -> Row:
    """The row of the mark of a deleted thread."""
    expires = from_attribute(item[EXPIRES]) if EXPIRES in item else None
    moment = datetime.fromtimestamp(expires - KEPT_SECONDS, UTC) if expires is not None else datetime.now(UTC)
    return {
        "id": clean_id(keys.thread_of(item), "thread id"),
        "deletedAt": clean_time(moment, "time of a deletion"),
    }


def kind_of(item: Item) -> str:
    """The kind of an item; "" if it is unknown."""
    pk, sk = str(item["PK"]["S"]), str(item["SK"]["S"])
    if pk.startswith("USER#") and sk == "USER":
        return "USER"
    if not pk.startswith("THREAD#"):
        return ""
    if sk in (keys.THREAD, keys.DELETED):
        return sk
    kinds = (keys.STEP, keys.ELEMENT, keys.CHANGE, keys.FILE, keys.VOTE, keys.FAVORITE)
    return next((one for one in kinds if sk.startswith(one)), "")


def file_row(item: Item) -> Row:
    """The row of a file to delete."""
    due = clean_time(str(item["UserThreadSK"]["S"]).removeprefix("TS#"), "time of a deletion")
    return {
        "objectKey": clean_text(item["objectKey"]["S"]),
        "threadId": known_id(keys.thread_of(item)),
        "queuedAt": due,
        "dueAt": due,
    }
