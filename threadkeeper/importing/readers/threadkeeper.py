"""Threads of Threadkeeper or of another Chainlit app: a JSON export, ThreadDicts of Chainlit, or a takeout.

A person's takeout is read as any other export: what it says about owners, ids, model calls and votes of others does not
count. `threadkeeper import` restores it completely, for an operator who trusts it.
"""

import base64
import binascii
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from datalayer.thought import THOUGHT_NAME, THOUGHT_TYPE
from threadkeeper.importing.files import UNKNOWN, entry_attachment
from threadkeeper.importing.model import (
    Attachment,
    BadConversation,
    Conversation,
    Earlier,
    Kind,
    Message,
    Read,
    Source,
    Unreadable,
    Vote,
)
from threadkeeper.importing.package import BadPackage, Package, Shape
from threadkeeper.importing.reasons import Reason
from threadkeeper.importing.values import each, items, mapping, moment, number, one, text

FORMAT = "threadkeeper-threads"
"""The `format` of a JSON export."""
VERSION = 1
_ROWS = ("steps", "elements", "feedbacks", "feedback_changes", "step_versions")
_ENDINGS = ("stopped", "cut", "length", "filtered")
_KINDS: dict[str, Kind] = {"user_message": "question", "assistant_message": "answer", "run": "hidden"}


class Threadkeeper:
    source = "threadkeeper"

    def recognizes(self, shape: Shape) -> bool:
        return bool(_prefix(shape)) or {"entries", "threads.item.folder"} <= shape

    def read(self, package: Package, entries: list[str]) -> Iterator[Read]:
        for entry in entries:
            prefix = _prefix(package.shape(entry))
            if prefix is None:
                yield from _takeout(package, entry)
            else:
                yield from each(package, entry, prefix.removesuffix("."), lambda record: _conversation(mapping(record)))


def _prefix(shape: Shape) -> str | None:
    """Where the threads are in a JSON file; None if there are none."""
    return next((prefix for prefix in ("threads.item.", "item.", "") if f"{prefix}steps.item.type" in shape), None)


def _takeout(package: Package, entry: str) -> Iterator[Read]:
    for listed in map(mapping, package.records(entry, "threads.item")):
        folder = text(listed.get("folder"))
        try:
            package.check_record(f"{folder}{name}" for name in ("thread.json", *(f"{rows}.jsonl" for rows in _ROWS)))
            thread = {**mapping(package.object(f"{folder}thread.json"))}
            steps, elements, votes, changes, versions = (
                [mapping(row) for row in package.lines(f"{folder}{name}.jsonl")] for name in _ROWS
            )
        except BadPackage as error:
            yield Unreadable(folder, Reason("import_reason_unreadable", {"reason": error.reason}))
            continue
        except KeyError as error:
            yield Unreadable(folder, Reason("import_reason_no_entry", {"name": str(error.args[0])}))
            continue
        own = thread.get("userId")
        cast = {row.get("forId"): row for row in votes if row.get("userId") == own}
        # Votes on removed answers have their history alone.
        changes.sort(key=lambda row: text(row.get("changedAt")))
        last = {row.get("forId"): row for row in changes if row.get("userId") == own}
        thread["steps"] = [{**step, "feedback": cast.get(step.get("id"))} for step in steps]
        thread["versions"] = [{**row, "feedback": last.get(row.get("stepId"))} for row in versions]
        thread["elements"] = elements
        yield from one(thread, folder, lambda found: _conversation(mapping(found), package))


def _conversation(record: Mapping[str, Any], package: Package | None = None) -> Conversation | None:
    own_id = text(record.get("id"))
    if not own_id or not isinstance(record.get("steps"), list):
        raise BadConversation("import_reason_no_messages")
    steps = sorted(map(mapping, record["steps"]), key=lambda step: (text(step.get("createdAt")), text(step.get("id"))))
    found = Conversation(
        own_id,
        text(record.get("name")),
        moment(record.get("createdAt")),
        moment(record.get("updatedAt")),
        is_archived=bool(record.get("archivedAt")),
        is_pinned=bool(record.get("pinnedAt")),
        tags=tuple(tag for tag in items(record.get("tags")) if isinstance(tag, str)),
        own_id=own_id,
    )
    files = _files(found, items(record.get("elements")), package)
    votes = {text(step.get("id")): vote for step in steps if (vote := _vote(mapping(step.get("feedback"))))}
    before = None
    for step in steps:
        message = _message(found, step)
        message.parent, before = before, message.id
        message.files, message.vote = tuple(files.pop(message.id, ())), votes.get(message.id)
        found.messages.append(message)
    _move_votes_of_runs(found.messages, steps, votes)
    left = [file for listed in files.values() for file in listed]
    shown = [message for message in found.messages if message.kind != "hidden"]
    if left and shown:
        shown[-1].files = (*shown[-1].files, *left)
    found.current = before
    found.earlier = tuple(_earlier(items(record.get("versions"))))
    return found if shown else None


def _message(found: Conversation, step: Mapping[str, Any]) -> Message:
    about, kind = mapping(step.get("metadata")), text(step.get("type"))
    message = Message(text(step.get("id")), None, _KINDS.get(kind, "tool"), text(step.get("output")))
    message.at = moment(step.get("createdAt"))
    if kind == THOUGHT_TYPE and step.get("name") == THOUGHT_NAME:
        message.kind, message.seconds = "thought", number(about.get("seconds"))
    elif message.kind == "answer" and about.get("status") == "notice":
        message.kind = "hidden"
        found.left_out["notices"] += 1
    elif message.kind == "answer":
        message.model, message.is_error = text(about.get("model")) or None, step.get("isError") is True
        if about.get("status") in _ENDINGS:
            message.status = text(about.get("status"))
        cited = map(mapping, items(mapping(about.get("imported")).get("sources")))
        message.sources = tuple(Source(text(page.get("url")), text(page.get("title"))) for page in cited)
    elif message.kind == "tool":
        message.name, message.input = text(step.get("name")), text(step.get("input"))
        message.is_error = step.get("isError") is True
    return message


def _move_votes_of_runs(
    messages: Sequence[Message], steps: Iterable[Mapping[str, Any]], votes: Mapping[str, Vote]
) -> None:
    """A vote on a run is one on its last answer."""
    by_id = {message.id: message for message in messages}
    last = {
        text(step.get("parentId")): text(step.get("id")) for step in steps if step.get("type") == "assistant_message"
    }
    for run, answer in last.items():
        if run in votes and answer in by_id and by_id[answer].vote is None:
            by_id[answer].vote = votes[run]


def _files(found: Conversation, elements: Iterable[Any], package: Package | None) -> dict[str, list[Attachment]]:
    files: dict[str, list[Attachment]] = defaultdict(list)
    for element in map(mapping, elements):
        name, mime = text(element.get("name")) or "file", text(element.get("mime")) or UNKNOWN
        file = Attachment(text(element.get("id")), name, mime)
        entry, content = text(element.get("file")), text(element.get("content"))
        if package is not None and entry in package:
            file = replace(entry_attachment(package, file.id, name, entry, mime), name=name, mime=mime)
        elif content:
            try:
                file = replace(file, data=base64.b64decode(content, validate=True))
            except binascii.Error:
                found.left_out["missing_files"] += 1
                continue
        files[text(element.get("forId"))].append(file)
    return files


def _earlier(versions: Iterable[Any]) -> Iterator[Earlier]:
    for row in map(mapping, versions):
        kind = _KINDS.get(text(row.get("type")), "tool")
        if row.get("type") == THOUGHT_TYPE:
            kind = "thought"
        replaced_at = moment(row.get("replacedAt"))
        if replaced_at is None or kind == "hidden":
            continue
        yield Earlier(
            text(row.get("stepId")),
            row.get("change") == "edited",
            kind,
            text(row.get("output")),
            moment(row.get("createdAt")),
            replaced_at,
            text(row.get("parentId")) or None,
            _vote(mapping(row.get("feedback"))) if row.get("change") == "removed" else None,
        )


def _vote(given: Mapping[str, Any]) -> Vote | None:
    value = given.get("value")
    if value not in (0, 1):
        return None
    return Vote(
        1 if value else 0,
        text(given.get("comment")) or None,
        moment(given.get("updatedAt")) or moment(given.get("changedAt")),
    )
