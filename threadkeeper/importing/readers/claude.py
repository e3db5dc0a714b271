"""Claude's export: `conversations.json` with an array of conversations, alone or in a ZIP.

All branches stand in one list: a message names the one before it, and the branch that ends with the newest message is
the current one. The export names no model, and has the text of attached documents but not the files.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from threadkeeper.importing.documents import document
from threadkeeper.importing.files import entry_attachment
from threadkeeper.importing.model import Attachment, BadConversation, Conversation, Message, Read, Source
from threadkeeper.importing.package import Package, Shape
from threadkeeper.importing.values import chain, each, items, mapping, moment, text

# Parts that the chat does not show, or that repeat others.
_NOT_SHOWN = {"injected_prompt_block", "token_budget", "flag"}
# Whose words are in `text`.
_SAID = ("text", "voice_note")
_MARKDOWN = "text/markdown"


class Claude:
    source = "claude"

    def recognizes(self, shape: Shape) -> bool:
        # Very old exports say `messages`; nobody else has both a uuid and a sender.
        return "item.chat_messages" in shape or {"item.uuid", "item.messages.item.sender"} <= shape

    def read(self, package: Package, entries: list[str]) -> Iterator[Read]:
        for entry in entries:
            yield from each(package, entry, "item", lambda record: _conversation(package, mapping(record)))


def _conversation(package: Package, record: Mapping[str, Any]) -> Conversation | None:
    listed = record.get("chat_messages", record.get("messages"))
    if not isinstance(listed, list):
        raise BadConversation("import_reason_no_messages")
    if not listed:
        return None
    found = Conversation(
        text(record.get("uuid")) or text(record.get("id")),
        text(record.get("name")) or text(record.get("title")),
        moment(record.get("created_at")),
        moment(record.get("updated_at")),
        is_pinned=record.get("is_starred") is True,
    )
    if not found.id:
        raise BadConversation("import_reason_no_messages")
    before = None
    for at, one in enumerate(map(mapping, listed)):
        # Old exports have neither ids nor parents: their messages follow each other.
        own_id = text(one.get("uuid")) or str(at)
        parent = text(one.get("parent_message_uuid")) if "parent_message_uuid" in one else before
        files = tuple(_files(package, one, own_id))
        parts = _question(one, files) if one.get("sender") in ("human", "user") else _answer(found, one, files)
        for part in parts:
            part.model = text(record.get("model")) or None if part.kind == "answer" else None
        found.messages += chain(parent or None, own_id, parts)
        before = own_id
    leaf = text(record.get("current_leaf_message_uuid"))
    found.current = leaf or None
    return found


def _question(one: Mapping[str, Any], files: tuple[Attachment, ...]) -> list[Message]:
    blocks = map(mapping, items(one.get("content")))
    said = "\n\n".join(filter(None, (text(block.get("text")) for block in blocks if block.get("type") in _SAID)))
    return [Message("", None, "question", said or text(one.get("text")), moment(one.get("created_at")), files=files)]


def _answer(found: Conversation, one: Mapping[str, Any], files: tuple[Attachment, ...]) -> list[Message]:
    at = moment(one.get("created_at"))
    blocks = [mapping(block) for block in items(one.get("content"))]
    parts: list[Message] = []
    calls: dict[str, Message] = {}
    for block in blocks:
        begun = moment(block.get("start_timestamp")) or at
        match block.get("type"):
            case "text" | "voice_note" if text(block.get("text")).strip():
                sources = tuple(_sources(block))
                parts.append(Message("", None, "answer", text(block["text"]), begun, sources=sources))
            case "thinking" if thought := _thought(block):
                ended = moment(block.get("stop_timestamp"))
                seconds = (ended - begun).total_seconds() if ended and begun and ended >= begun else None
                parts.append(Message("", None, "thought", thought, begun, seconds=seconds))
            case "tool_use" if written := _artifact(mapping(block.get("input"))):
                parts.append(Message("", None, "answer", written, begun))
                # Its result says only that it was written.
                calls[text(block.get("id"))] = Message("", None, "hidden")
            case "tool_use":
                call = Message(
                    "", None, "tool", "", begun, name=text(block.get("name")), input=_shown(block.get("input"))
                )
                calls[text(block.get("id"))] = call
                parts.append(call)
            case "tool_result":
                _put_result(parts, calls, block, begun)
            case "text" | "thinking" | "voice_note":
                pass
            case kind if kind not in _NOT_SHOWN:
                found.left_out["other_content"] += 1
    if not any(part.kind == "answer" for part in parts) and text(one.get("text")).strip() and not blocks:
        parts.append(Message("", None, "answer", text(one["text"]), at))
    if parts and files:
        parts[-1].files = files
    return parts or [Message("", None, "answer", at=at)]


def _thought(block: Mapping[str, Any]) -> str:
    """The thought; where the export has not its words, what the chat shows of it."""
    summaries = (text(mapping(one).get("summary")) for one in items(block.get("summaries")))
    return text(block.get("thinking")).strip() or "\n\n".join(filter(None, summaries))


def _artifact(given: Mapping[str, Any]) -> str:
    """The document that a call writes as a whole; "" for another call."""
    content, kind = text(given.get("content")), text(given.get("type"))
    if given.get("command") not in ("create", "rewrite") or not content.strip():
        return ""
    language = text(given.get("language")) or ("" if "html" not in kind else "html")
    return document(text(given.get("title")), content, None if kind == _MARKDOWN else language)


def _put_result(parts: list[Message], calls: dict[str, Message], block: Mapping[str, Any], at: Any) -> None:
    content = block.get("content")
    said = [_result(piece) for piece in map(mapping, items(content))]
    output = "\n\n".join(filter(None, said)) or _shown(content)
    call = calls.pop(text(block.get("tool_use_id")), None)
    if call is None:
        # The call is not in the export, or its result came twice.
        call = Message("", None, "tool", "", at, name=text(block.get("name")))
        parts.append(call)
    call.text, call.is_error = output, block.get("is_error") is True


def _result(piece: Mapping[str, Any]) -> str:
    """A piece of a result: text, or a page that was found, with its title and address."""
    if url := text(piece.get("url")):
        return "\n".join(filter(None, (f"{text(piece.get('title'))} {url}".strip(), text(piece.get("text")))))
    return _shown(piece.get("text", piece))


def _sources(block: Mapping[str, Any]) -> Iterator[Source]:
    for cited in map(mapping, items(block.get("citations"))):
        url = text(cited.get("url")) or text(mapping(cited.get("details")).get("url"))
        if url.startswith(("http://", "https://")):
            yield Source(url, text(cited.get("title")))


def _files(package: Package, one: Mapping[str, Any], own_id: str) -> Iterator[Attachment]:
    for at, given in enumerate(map(mapping, items(one.get("attachments")))):
        name = text(given.get("file_name")) or "pasted.txt"
        content = text(given.get("extracted_content"))
        if content and PurePosixPath(name).suffix.lower() not in (".txt", ".md", ".csv", ".json"):
            # The text of the document, not the document.
            name += ".txt"
        yield Attachment(
            f"{own_id}/{at}", name, "text/plain", data=content.encode("utf-8", "replace") if content else None
        )
    for at, given in enumerate(map(mapping, items(one.get("files")))):
        name = text(given.get("file_name")) or "file"
        file_id = text(given.get("file_uuid")) or f"{own_id}/file/{at}"
        entry = next((found for key in (file_id, name) if (found := package.by_base_name.get(key))), None)
        yield entry_attachment(package, file_id, name, entry) if entry else Attachment(file_id, name)


def _shown(value: Any) -> str:
    if value is None or value == "":
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
