"""LibreChat's export: one conversation a file, flat or, with `recursive`, nested by `children`.

The order of the file is that of the messages: `createdAt` may be missing. The text of an answer may be in `content`
alone.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from threadkeeper.importing.files import entry_attachment
from threadkeeper.importing.model import Attachment, BadConversation, Conversation, Message, Read, Vote
from threadkeeper.importing.package import Package, Shape
from threadkeeper.importing.readers.librechat_citations import FOUND, cited, found_pages
from threadkeeper.importing.values import chain, each, items, mapping, moment, text

_SHAPE = {"conversationId", "messages"}
# What the chat does not show either, and files, which `_files` gives.
_NOT_SHOWN = {"agent_update", "image_file", "image_url"}
_AGENTS = ("agent_", "asst_")


class LibreChat:
    source = "librechat"

    def recognizes(self, shape: Shape) -> bool:
        return shape >= _SHAPE or {"conversationId", "messagesTree"} <= shape

    def read(self, package: Package, entries: list[str]) -> Iterator[Read]:
        for entry in entries:
            yield from each(package, entry, "", lambda record: _conversation(package, mapping(record)))


def _conversation(package: Package, record: Mapping[str, Any]) -> Conversation | None:
    listed = record.get("messages", record.get("messagesTree"))
    own_id = text(record.get("conversationId"))
    if not own_id or not isinstance(listed, list):
        raise BadConversation("import_reason_no_messages")
    if not listed:
        return None
    found = Conversation(
        own_id,
        text(record.get("title")),
        moment(record.get("createdAt")),
        moment(record.get("updatedAt")),
        is_archived=record.get("isArchived") is True,
        tags=tuple(tag for tag in items(record.get("tags")) if isinstance(tag, str)),
    )
    # A stack instead of recursion, because a long conversation is nested deeply.
    waiting: list[tuple[Any, str | None]] = [(one, None) for one in reversed(listed)]
    before, newest = None, None
    while waiting:
        given, within = waiting.pop()
        one = mapping(given)
        message_id = text(one.get("messageId")) or f"#{len(found.messages)}"
        parent = text(one.get("parentMessageId")) if "parentMessageId" in one else within or before
        parts = _parts(found, package, one)
        found.messages += chain(parent or None, message_id, parts)
        before = message_id
        waiting += [(child, message_id) for child in reversed(items(one.get("children")))]
        # Without times, the last message of the file is the newest one.
        newest = message_id if not any(part.at for part in parts) else newest
    found.current = newest if newest == before else None
    return found


def _parts(found: Conversation, package: Package, one: Mapping[str, Any]) -> Sequence[Message]:
    at, said = moment(one.get("createdAt")), text(one.get("text"))
    files = tuple(_files(package, one))
    if one.get("isCreatedByUser") is True:
        said = said or "\n\n".join(part.text for part in _of_content(found, items(one.get("content"))))
        return [Message("", None, "question", said, at, files=files)]
    parts = [*_of_content(found, items(one.get("content")))]
    if not any(part.kind == "answer" for part in parts) and (said or not parts):
        parts.append(Message("", None, "answer", said))
    attachments = items(one.get("attachments"))
    pages = found_pages(attachments)
    has_found = any(mapping(attachment).get("type") in FOUND for attachment in attachments)
    for part in parts:
        part.at = at
        if part.kind == "answer":
            part.text, part.sources = cited(part.text, pages, has_found=has_found)
            part.model = _model(one)
            part.vote = _vote(mapping(one.get("feedback")))
    if len(answers := [part for part in parts if part.kind == "answer"]) > 1:
        for part in answers[:-1]:
            part.vote = None
    parts[-1].files = files
    return parts


def _model(one: Mapping[str, Any]) -> str | None:
    """The name of the model; of an agent that has an id in its place, its own name."""
    model = text(one.get("model"))
    return (text(one.get("sender")) if model.startswith(_AGENTS) else "") or model or None


def _of_content(found: Conversation, content: Sequence[Any]) -> Iterator[Message]:
    for part in map(mapping, content):
        match part.get("type"):
            case "text":
                given = part.get("text")
                if said := text(given) or text(mapping(given).get("value")):
                    yield Message("", None, "answer", said)
            case "think":
                given = part.get("think")
                if thought := text(given) or text(mapping(given).get("value")):
                    yield Message("", None, "thought", thought)
            case "tool_call":
                call = mapping(part.get("tool_call"))
                function = mapping(call.get("function"))
                given = call.get("args", function.get("arguments"))
                shown = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False) if given else ""
                name = text(call.get("name")) or text(function.get("name"))
                output = text(call.get("output")) or text(function.get("output"))
                yield Message("", None, "tool", output, name=name, input=shown)
            case "error":
                given = part.get("error")
                said = text(given) or text(mapping(part.get("text")).get("value"))
                yield Message("", None, "answer", said, is_error=True)
            case kind if kind not in _NOT_SHOWN:
                found.left_out["other_content"] += 1


def _files(package: Package, one: Mapping[str, Any]) -> Iterator[Attachment]:
    drawn = (mapping(part).get("image_file") for part in items(one.get("content")))
    listed = (*items(one.get("files")), *items(one.get("attachments")), *filter(None, drawn))
    for at, file in enumerate(map(mapping, listed)):
        if file.get("type") in (*FOUND, "ui_resources", "memory"):
            # Not a file, but what a tool has found.
            continue
        name = text(file.get("filename")) or "file"
        file_id = text(file.get("file_id")) or f"{one.get('messageId')}/{at}"
        entry = package.by_base_name.get(name)
        yield entry_attachment(package, file_id, name, entry) if entry else Attachment(file_id, name)


def _vote(feedback: Mapping[str, Any]) -> Vote | None:
    rating = text(feedback.get("rating"))
    if rating not in ("thumbsUp", "thumbsDown"):
        return None
    tag = feedback.get("tag")
    words = text(feedback.get("text")) or text(tag) or text(mapping(tag).get("key"))
    return Vote(1 if rating == "thumbsUp" else 0, words or None)
