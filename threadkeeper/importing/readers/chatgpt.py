"""ChatGPT's export: a ZIP with `conversations.json` or its shards, or one of these files.

`mapping` is a tree of nodes, of which many show nothing. The newest exports name every file `….dat` and have its name
in `conversation_asset_file_names.json`. Votes are in a file of their own.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from threadkeeper.importing.files import entry_attachment
from threadkeeper.importing.model import Attachment, BadConversation, Conversation, Message, Read, Vote
from threadkeeper.importing.package import BadPackage, Package, Shape
from threadkeeper.importing.readers.chatgpt_citations import cited
from threadkeeper.importing.readers.chatgpt_documents import canvas, report, search_results
from threadkeeper.importing.values import each, items, mapping, moment, number, text

_NAMES, _FEEDBACK = "conversation_asset_file_names.json", "message_feedback.json"
_NOT_SHOWN = {"user_editable_context", "model_editable_context", "reasoning_recap"}
_ASSET_ID = re.compile(r"(file[-_][A-Za-z0-9]+)")
_CANVAS = "canmore."
# Thoughts and their end have the searches between them.
_MOST_BETWEEN = 100


class ChatGPT:
    source = "chatgpt"

    def recognizes(self, shape: Shape) -> bool:
        # DeepSeek has the same tree; its conversations have `inserted_at`.
        return ("item.mapping" in shape or "item.current_node" in shape) and "item.inserted_at" not in shape

    def read(self, package: Package, entries: list[str]) -> Iterator[Read]:
        export = _Export(package)
        for entry in entries:
            yield from each(package, entry, "item", lambda record: _Walk(export, mapping(record)).conversation())


class _Export:
    """What belongs to all conversations: the names of the files, and the votes."""

    def __init__(self, package: Package) -> None:
        self.package = package

    @cached_property
    def _file_names(self) -> Mapping[str, str]:
        return {key: text(name) for found in self._small(_NAMES) for key, name in mapping(found).items()}

    @cached_property
    def _entries(self) -> dict[str, str]:
        """The entries of files by the ids in their names."""
        found: dict[str, str] = {}
        for name in self.package.names:
            if match := _ASSET_ID.match(PurePosixPath(name).name):
                found.setdefault(match[1], name)
        return found

    @cached_property
    def votes(self) -> Mapping[str, Vote]:
        """The votes by the ids of their messages."""
        found: dict[str, Vote] = {}
        for row in (mapping(row) for listed in self._small(_FEEDBACK) for row in items(listed)):
            rating = text(row.get("rating")).lower()
            if "up" not in rating and "down" not in rating:
                continue
            at = moment(row.get("update_time")) or moment(row.get("create_time"))
            vote = Vote(1 if "up" in rating else 0, _comment(row.get("content")), at)
            for key in ("message_id", "id"):
                if message_id := text(row.get(key)):
                    found.setdefault(message_id, vote)
        return found

    def file(self, file_id: str, name: str = "", mime: str | None = None) -> Attachment:
        entry = self._entries.get(file_id)
        if entry is None:
            return Attachment(file_id, name or file_id, mime)
        base = PurePosixPath(entry).name
        given = name or self._file_names.get(base, "") or base.removeprefix(f"{file_id}-")
        return entry_attachment(self.package, file_id, given, entry, mime)

    def _small(self, name: str) -> Iterator[Any]:
        for entry in self.package.with_base_name(name):
            # Conversations are worth more than the names of their files and the votes.
            with suppress(BadPackage):
                yield self.package.object(entry)


@dataclass(slots=True)
class _Walk:
    """One conversation."""

    export: _Export
    record: Mapping[str, Any]
    left_out: Counter[str] = field(default_factory=Counter)
    printed: dict[str, str] = field(default_factory=dict)
    """What a program printed that made pictures, too, by the key of the node."""

    def conversation(self) -> Conversation:
        record = self.record
        nodes = record.get("mapping")
        own_id = text(record.get("conversation_id")) or text(record.get("id"))
        if not isinstance(nodes, dict) or not nodes:
            raise BadConversation("import_reason_no_messages")
        if not own_id:
            # Old exports have no id; the first node is as old as the conversation.
            own_id = next(iter(nodes))
        found = Conversation(
            own_id,
            text(record.get("title")),
            moment(record.get("create_time")),
            moment(record.get("update_time")),
            current=text(record.get("current_node")) or None,
            is_archived=record.get("is_archived") is True,
            is_pinned=record.get("is_starred") is True or number(record.get("pinned_time")) is not None,
            left_out=self.left_out,
        )
        found.messages = self._messages({key: mapping(node) for key, node in nodes.items()})
        return found

    def _messages(self, nodes: Mapping[str, Mapping[str, Any]]) -> list[Message]:
        made = {key: self._message(key, node) for key, node in nodes.items()}
        # A node without `parent` may still be somebody's child.
        for key, node in nodes.items():
            for child in items(node.get("children")):
                if isinstance(child, str) and child in made and made[child].parent is None and child != key:
                    made[child].parent = key
        for key, one in made.items():
            before = made.get(one.parent or "")
            about = mapping(nodes[key].get("message"))
            if before is None:
                continue
            if _content(about).get("content_type") == "reasoning_recap":
                _time_thought(made, before, number(mapping(about.get("metadata")).get("finished_duration_sec")))
            is_result = mapping(about.get("author")).get("role") == "tool" and one.kind == "tool"
            if is_result and before.kind == "answer" and one.name.startswith(_CANVAS):
                # It says only that the canvas was written.
                one.kind = "hidden"
            elif before.kind != "tool":
                continue
            elif is_result and before.input and not before.text and before.name == one.name:
                # The call and its result are one run of a tool.
                before.text, before.is_error, one.kind = one.text, one.is_error, "hidden"
            elif before.input and not before.text and key in self.printed:
                # The pictures stay a message of their own, which the chat shows.
                before.text = self.printed[key]
        return list(made.values())

    def _message(self, key: str, node: Mapping[str, Any]) -> Message:
        parent = text(node.get("parent")) or None
        about = mapping(node.get("message"))
        author, metadata, content = mapping(about.get("author")), mapping(about.get("metadata")), _content(about)
        role, kind = author.get("role"), text(content.get("content_type"))
        one = Message(key, parent, "hidden", at=moment(about.get("create_time")))
        is_hidden = metadata.get("is_visually_hidden_from_conversation") is True
        if not about or role == "system" or kind in _NOT_SHOWN or is_hidden:
            return one
        if kind == "thoughts":
            one.text = "\n\n".join(_thought(thought) for thought in map(mapping, items(content.get("thoughts"))))
            one.kind = "thought" if one.text.strip() else "hidden"
            one.seconds = number(metadata.get("finished_duration_sec"))
            return one
        said, one.files = self._said(content, metadata)
        recipient = text(about.get("recipient")) or "all"
        if role == "tool" and (written := report(metadata)):
            one.kind, (one.text, one.sources), one.model = "answer", written, self._model(metadata)
            return one
        said = said if said.strip() or role != "tool" else search_results(metadata)
        if not said.strip() and not one.files:
            if kind and kind not in ("text", "code", "multimodal_text", "tether_browsing_display"):
                self.left_out["other_content"] += 1
            return one
        one.text, one.kind = said, "answer"
        if role == "user":
            one.kind = "question"
        elif role == "tool" and not one.files:
            one.kind, one.name, one.is_error = "tool", text(author.get("name")), kind == "system_error"
        elif role == "tool":
            # Pictures of a tool are shown in the chat, and its words are for the model, but not what a program printed.
            one.text = ""
            if kind == "execution_output":
                self.printed[key] = said
        elif recipient.startswith(_CANVAS) and (document := canvas(said)):
            one.text = document
        elif recipient != "all":
            one.kind, one.name, one.input, one.text = "tool", recipient, said, ""
        if one.kind == "answer":
            one.text, one.sources = cited(one.text, metadata)
            one.model = self._model(metadata)
            one.vote = self.export.votes.get(text(about.get("id")) or key)
        return one

    def _model(self, metadata: Mapping[str, Any]) -> str | None:
        return text(metadata.get("model_slug")) or text(self.record.get("default_model_slug")) or None

    def _said(self, content: Mapping[str, Any], metadata: Mapping[str, Any]) -> tuple[str, tuple[Attachment, ...]]:
        """The text of a message, and its files."""
        parts: list[str] = []
        files: dict[str, Attachment] = {}
        for given in map(mapping, items(metadata.get("attachments"))):
            if file_id := text(given.get("id")):
                mime = text(given.get("mime_type")) or text(given.get("mimeType")) or None
                files[file_id] = self.export.file(file_id, text(given.get("name")), mime)
        for part in items(content.get("parts")):
            if isinstance(part, str):
                parts.append(part)
            elif pointers := _pointers(mapping(part)):
                for file_id in pointers:
                    files.setdefault(file_id, self.export.file(file_id))
            elif spoken := text(mapping(part).get("text")):
                parts.append(spoken)
            elif part is not None:
                self.left_out["other_content"] += 1
        parts += (text(content.get(key)) for key in ("text", "result", "content"))
        for picture in map(mapping, items(mapping(metadata.get("aggregate_result")).get("messages"))):
            for file_id in _pointers({"asset_pointer": picture.get("image_url")}):
                files.setdefault(file_id, self.export.file(file_id))
        return "\n".join(filter(None, parts)), tuple(files.values())


def _time_thought(made: Mapping[str, Message], before: Message | None, seconds: float | None) -> None:
    """How long the thought took that ends below this message."""
    for _ in range(_MOST_BETWEEN):
        if before is None or before.kind not in ("tool", "hidden"):
            break
        before = made.get(before.parent or "")
    if before is not None and before.kind == "thought":
        before.seconds = before.seconds or seconds


def _content(about: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(about.get("content"))


def _thought(thought: Mapping[str, Any]) -> str:
    summary, content = text(thought.get("summary")), text(thought.get("content"))
    return f"**{summary}**\n\n{content}".strip() if summary else content


def _pointers(part: Mapping[str, Any]) -> list[str]:
    """The ids of the files that a part points to: `file-service://file-…`, `sediment://file_…`."""
    within = (part, *(mapping(part.get(key)) for key in ("audio_asset_pointer", "video_container_asset_pointer")))
    found = (_ASSET_ID.match(text(one.get("asset_pointer")).rpartition("/")[2]) for one in within)
    return [match[1] for match in found if match]


def _comment(content: Any) -> str | None:
    """The words of a vote: text, or JSON in text."""
    try:
        given = mapping(json.loads(text(content)))
    except (ValueError, RecursionError):
        return text(content) or None
    return text(given.get("text")) or None
