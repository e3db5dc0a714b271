"""Le Chat's export (Mistral, now Vibe): a ZIP with `chat-ID.json`, a bare array of messages in no order and no title.

Files are in the folder `chat-ID-files`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from threadkeeper.importing.documents import document
from threadkeeper.importing.files import entry_attachment
from threadkeeper.importing.model import Attachment, Conversation, Message, Read, Source, Unreadable, Vote
from threadkeeper.importing.package import BadPackage, Package, Shape
from threadkeeper.importing.reasons import Reason
from threadkeeper.importing.values import chain, items, mapping, moment, one, text


class LeChat:
    source = "le-chat"

    def recognizes(self, shape: Shape) -> bool:
        return {"item.chatId", "item.role", "item.createdAt"} <= shape

    def read(self, package: Package, entries: list[str]) -> Iterator[Read]:
        for entry in entries:
            try:
                record = package.object(entry)
            except BadPackage as error:
                yield Unreadable(entry, Reason("import_reason_unreadable", {"reason": error.reason}))
                continue
            yield from one(record, entry, partial(_conversation, package, entry))


def _conversation(package: Package, entry: str, record: Any) -> Conversation | None:
    listed = sorted(map(mapping, items(record)), key=lambda message: text(message.get("createdAt")))
    if not listed:
        return None
    stem = PurePosixPath(entry).stem
    found = Conversation(text(listed[0].get("chatId")) or stem)
    ids = {text(message.get("id")) for message in listed} - {""}
    before = None
    for at, message in enumerate(listed):
        own_id = text(message.get("id")) or str(at)
        parent = text(message.get("parentId"))
        found.messages += chain(parent if parent in ids else before, own_id, _parts(found, package, stem, message))
        before = own_id
    return found


def _parts(found: Conversation, package: Package, stem: str, message: Mapping[str, Any]) -> Sequence[Message]:
    at = moment(message.get("createdAt"))
    files = tuple(_files(package, stem, message))
    chunks = items(message.get("contentChunks"))
    # `content` repeats the text of the chunks.
    parts = [*_of_chunks(found, chunks)] if chunks else []
    said, rest = text(message.get("content")), [part for part in parts if part.kind != "answer"]
    if message.get("role") == "user":
        whole = "\n\n".join(part.text for part in parts if part.kind == "answer") or said
        return [Message("", None, "question", whole, at, files=files)]
    if len(rest) == len(parts):
        parts.append(Message("", None, "answer", said))
    parts += _canvases(message)
    for part in parts:
        part.at = at
    answer = next(part for part in reversed(parts) if part.kind == "answer")
    answer.model, answer.vote, answer.files = text(message.get("model")) or None, _vote(message), files
    return parts


def _of_chunks(found: Conversation, chunks: Sequence[Any]) -> list[Message]:
    """Text, and references within it, are one answer until a tool or a thought comes."""
    parts: list[Message] = []
    for chunk in map(mapping, chunks):
        last = parts[-1] if parts and parts[-1].kind == "answer" else None
        match chunk.get("type"):
            case "text":
                if last is None:
                    parts.append(Message("", None, "answer", text(chunk.get("text"))))
                else:
                    last.text += text(chunk.get("text"))
            case "reference":
                url = text(chunk.get("url"))
                if last is not None and url.startswith(("http://", "https://")):
                    last.sources = (*last.sources, Source(url, text(chunk.get("title"))))
            case "thinking":
                given = chunk.get("thinking", chunk.get("text"))
                said = text(given) or "".join(text(mapping(piece).get("text")) for piece in items(given))
                parts.append(Message("", None, "thought", said))
            case "tool_call" | "tool":
                parts.append(_tool(chunk))
            case "custom_element":
                # A card of the page, which repeats what the text says.
                pass
            case _:
                found.left_out["other_content"] += 1
    return parts


def _tool(chunk: Mapping[str, Any]) -> Message:
    given = chunk.get("publicArguments", chunk.get("arguments"))
    result = next((found for key in ("publicResult", "result", "output") if (found := chunk.get(key))), None)
    shown = [
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) if value else ""
        for value in (given, result)
    ]
    is_error = chunk.get("success") is False
    return Message("", None, "tool", shown[1], name=text(chunk.get("name")), input=shown[0], is_error=is_error)


def _canvases(message: Mapping[str, Any]) -> Iterator[Message]:
    """The documents beside the chat that this answer wrote."""
    for canvas in map(mapping, items(message.get("canvas"))):
        if content := text(canvas.get("content")).strip():
            yield Message("", None, "answer", document(text(canvas.get("title")), content))


def _files(package: Package, stem: str, message: Mapping[str, Any]) -> Iterator[Attachment]:
    for at, file in enumerate(map(mapping, items(message.get("files")))):
        name = text(file.get("name")) or "file"
        file_id = text(file.get("id")) or f"{message.get('id')}/{at}"
        folder = f"{stem}-files/{name}"
        entry = package.by_last_parts.get(folder)
        yield entry_attachment(package, file_id, name, entry) if entry else Attachment(file_id, name)


def _vote(message: Mapping[str, Any]) -> Vote | None:
    reaction = text(message.get("reaction"))
    if reaction not in ("like", "dislike"):
        return None
    return Vote(1 if reaction == "like" else 0, text(message.get("reactionComment")) or None)
