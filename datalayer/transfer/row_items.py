"""Rows of the SQL tables to items of the table: the reverse of `item_rows`."""

from datetime import datetime

from datalayer.cleaning import hashed_id
from datalayer.dynamodb import keys
from datalayer.dynamodb.changes import UPDATED, favorite_entry
from datalayer.dynamodb.dicts import element_attributes, step_attributes
from datalayer.dynamodb.file_outbox import queued
from datalayer.dynamodb.items import Item, attributes_of, to_attribute
from datalayer.dynamodb.tables import EXPIRES
from datalayer.history.deletion_marks import KEPT_SECONDS
from datalayer.records.chat import Element, Step
from datalayer.schema.chat import elements, steps
from datalayer.schema.rows import column_names
from datalayer.transfer.item_rows import (
    ARCHIVED,
    CHANGE_ID,
    COPIED_FROM,
    INDENT,
    NO_THUMBS,
    PINNED,
    REASONS,
    USER_ID,
    VOTE,
    VOTE_ID,
    Row,
)


def user_item(row: Row) -> Item:
    """The item of a user.

    Raises:
        InvalidRecord: the identifier is longer than a key may be.
    """
    return {
        **keys.user_key(row["identifier"]),
        **{name: {"S": row["identifier"]} for name in ("id", "identifier")},
        # Chainlit's own layer needs both attributes.
        "createdAt": {"S": row["createdAt"] or ""},
        "metadata": to_attribute(row["metadata"] or {}),
        USER_ID: {"S": row["id"]},
    }


def thread_item(row: Row) -> Item:
    """The item of a thread; `userIdentifier` is its owner's identifier."""
    owner = row["userIdentifier"]
    moment = row["updatedAt"] or row["createdAt"] or ""
    item: Item = {
        **keys.thread_key(row["id"]),
        "id": {"S": row["id"]},
        "createdAt": {"S": row["createdAt"] or ""},
        "name": to_attribute(row["name"]),
        "metadata": to_attribute(row["metadata"]),
        "UserThreadSK": {"S": f"TS#{moment}"},
        **attributes_of({"tags": row["tags"]}),
    }
    if owner:
        item |= {name: {"S": owner} for name in ("userId", "userIdentifier")}
        item["UserThreadPK"] = {"S": keys.of_user(owner)}
    for name, column in ((PINNED, "pinnedAt"), (ARCHIVED, "archivedAt")):
        if row[column]:
            item[name] = {"S": row[column]}
    return item


def step_item(row: Row, vote: Row | None) -> Item:
    """The item of a step with its vote, with its whole texts."""
    record = Step(**{field: row[column] for field, column in column_names(Step, steps).items()})
    record.updated_at = record.disable_feedback = record.indent = None
    item = {
        **step_attributes(record),
        **keys.step_key(row["threadId"], row["id"]),
        "id": {"S": row["id"]},
        "threadId": {"S": row["threadId"]},
        **keys.in_index(keys.of_step(row["id"]), ""),
    }
    # Chainlit's own layer sorts by it.
    item.setdefault("createdAt", {"S": ""})
    if row["updatedAt"]:
        item[UPDATED] = {"S": row["updatedAt"]}
    if row["disableFeedback"]:
        item[NO_THUMBS] = {"BOOL": True}
    if row["indent"] is not None:
        item[INDENT] = to_attribute(row["indent"])
    if vote is not None:
        ids = {"id": keys.vote_id(row["threadId"], row["id"]), "forId": row["id"], "threadId": row["threadId"]}
        comment = {} if vote["comment"] is None else {"comment": vote["comment"]}
        item["feedback"] = to_attribute({**ids, "value": vote["value"], **comment})
        kept = {name: vote[name] for name in ("id", "value", "updatedAt", "reasons") if vote[name] is not None}
        item[VOTE] = to_attribute(kept)
    return item


def entries_of(row: Row, vote: Row | None, owner: str | None, activity: str) -> list[Item]:
    """The entries of the index beside a step: of its vote, and of a favourite."""
    found: list[Item] = []
    if vote is not None:
        entry: Item = {**keys.vote_key(row["threadId"], row["id"], vote["value"]), "forId": {"S": row["id"]}}
        found.append(entry | (keys.in_index(keys.of_votes(owner, vote["value"]), activity) if owner else {}))
    if owner and (row["metadata"] or {}).get("favorite") is True:
        found.append(favorite_entry(row["threadId"], row["id"], owner, row["createdAt"] or ""))
    return found


def change_item(row: Row, voter: str | None, owner: str | None) -> Item:
    """The item of a change of a vote, by users with these identifiers."""
    moment, value = row["changedAt"], row["value"]
    # The owner's as our layer names it, so that it is the same item.
    number = hashed_id(f"{moment} {value}") if voter == owner else row["id"]
    place = f"{keys.CHANGE}{row['forId']}#{moment}#{number[:8]}"
    values = {"forId": row["forId"], "userId": voter, "value": value, "comment": row["comment"], "changedAt": moment}
    item: Item = {
        **keys.key(keys.partition(row["threadId"]), place),
        **attributes_of(values),
        CHANGE_ID: {"S": row["id"]},
        VOTE_ID: {"S": row["feedbackId"]},
    }
    if row["reasons"] is not None:
        item[REASONS] = to_attribute(row["reasons"])
    return item


def element_item(row: Row) -> Item:
    """The item of an element."""
    record = Element(**{field: row[column] for field, column in column_names(Element, elements).items()})
    return {
        # Chainlit's own layer needs the attribute, even without a file.
        "objectKey": {"NULL": True},
        **element_attributes(record),
        **({COPIED_FROM: {"S": row[COPIED_FROM]}} if COPIED_FROM in row else {}),
        **keys.element_key(row["threadId"], row["id"]),
        "id": {"S": row["id"]},
        "threadId": {"S": row["threadId"]},
    }


def mark_item(row: Row) -> Item:
    """The mark of a deleted thread."""
    expires = int(datetime.fromisoformat(row["deletedAt"]).timestamp() + KEPT_SECONDS)
    return {**keys.deleted_key(row["id"]), EXPIRES: {"N": str(expires)}}


def file_item(row: Row) -> Item:
    """The item of a file to delete."""
    item: Item = queued(row["threadId"], row["objectKey"], row["dueAt"])["Put"]["Item"]
    return item
