"""Conversations of LM Studio: a file each, or a ZIP of several.

A message has versions, one of which is selected; what follows it follows that one. Only the conversation has times,
and it has no id: the time when it began is one.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from threadkeeper.importing.model import Attachment, BadConversation, Conversation, Message, Read
from threadkeeper.importing.package import Package, Shape
from threadkeeper.importing.values import chain, each, items, mapping, moment, number, text


class LMStudio:
    source = "lm-studio"

    def recognizes(self, shape: Shape) -> bool:
        return {"messages.item.versions", "messages.item.currentlySelected"} <= shape

    def read(self, package: Package, entries: list[str]) -> Iterator[Read]:
        for entry in entries:
            yield from each(package, entry, "", lambda record: _conversation(mapping(record)))


def _conversation(record: Mapping[str, Any]) -> Conversation:
    begun, listed = number(record.get("createdAt")), record.get("messages")
    if begun is None or not isinstance(listed, list):
        raise BadConversation("import_reason_no_messages")
    last = (moment(record.get(f"{who}LastMessagedAt")) for who in ("user", "assistant"))
    found = Conversation(
        f"{begun:.0f}",
        text(record.get("name")),
        moment(begun),
        max(filter(None, last), default=None),
        is_pinned=record.get("pinned") is True,
    )
    before: str | None = None
    for at, one in enumerate(map(mapping, listed)):
        selected = before
        for place, version in enumerate(map(mapping, items(one.get("versions")))):
            version_id = f"{at}/{place}"
            found.messages += chain(before, version_id, _parts(found, version))
            if place == (number(one.get("currentlySelected")) or 0):
                selected = version_id
        before = selected
    found.current = before
    return found


def _parts(found: Conversation, version: Mapping[str, Any]) -> list[Message]:
    role = version.get("role")
    if role != "assistant":
        said, files = _said(found, items(version.get("content")))
        return [Message("", None, "question" if role == "user" else "hidden", said, files=files)]
    model = text(mapping(version.get("senderInfo")).get("senderName")) or None
    parts: list[Message] = []
    calls: dict[str, Message] = {}
    # An answer that was written by its user is one step itself.
    for step in map(mapping, items(version.get("steps")) or [version]):
        content = items(step.get("content"))
        for block in map(mapping, content):
            _take_call(parts, calls, block)
        said, files = _said(found, content)
        if said.strip() or files:
            is_thought = mapping(step.get("style")).get("type") == "thinking"
            part = Message("", None, "thought" if is_thought else "answer", said.strip(), files=files)
            part.model = None if is_thought else model
            parts.append(part)
    return parts or [Message("", None, "hidden")]


def _said(found: Conversation, content: Any) -> tuple[str, tuple[Attachment, ...]]:
    said, files = [], []
    for at, block in enumerate(map(mapping, content)):
        kind, name = text(block.get("type")), text(block.get("fileIdentifier")) or text(block.get("name"))
        if kind == "text":
            said.append(text(block.get("text")))
        elif kind in ("file", "image"):
            files.append(Attachment(f"{at}/{name}", name or kind))
        elif not kind.startswith("toolCall"):
            found.left_out["other_content"] += 1
    return "".join(said), tuple(files)


def _take_call(parts: list[Message], calls: dict[str, Message], block: Mapping[str, Any]) -> None:
    call_id = text(block.get("toolCallRequestId")) or str(block.get("callId"))
    if block.get("type") == "toolCallRequest":
        given = block.get("parameters", block.get("arguments"))
        shown = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False) if given else ""
        calls[call_id] = Message("", None, "tool", name=text(block.get("name")), input=shown)
        parts.append(calls[call_id])
    elif block.get("type") == "toolCallResult":
        result = block.get("content")
        shown = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False) if result else ""
        if call_id in calls:
            calls[call_id].text = shown
        else:
            parts.append(Message("", None, "tool", shown, name=text(block.get("name"))))
