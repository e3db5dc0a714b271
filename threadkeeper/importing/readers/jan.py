"""Threads of Jan in a ZIP of its folder `threads`: `thread.json` and `messages.jsonl` in a folder each."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

from datalayer.thought import split
from threadkeeper.importing.files import mime_of
from threadkeeper.importing.model import Attachment, BadConversation, Conversation, Message, Read, Unreadable
from threadkeeper.importing.package import BadPackage, Package, Shape
from threadkeeper.importing.reasons import Reason
from threadkeeper.importing.values import chain, items, mapping, moment, one, text

_THREAD, _MESSAGES = "thread.json", "messages.jsonl"
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,")


class Jan:
    source = "jan"

    def recognizes(self, shape: Shape) -> bool:
        return {"id", "object", "title", "assistants"} <= shape

    def read(self, package: Package, entries: list[str]) -> Iterator[Read]:
        for entry in entries:
            rows = f"{entry.removesuffix(_THREAD)}{_MESSAGES}"
            try:
                package.check_record((entry, rows))
                record = {**mapping(package.object(entry)), "rows": [*package.lines(rows)]}
            except BadPackage as error:
                yield Unreadable(entry, Reason("import_reason_unreadable", {"reason": error.reason}))
                continue
            if rows not in package:
                yield Unreadable(text(record.get("title")) or entry, Reason("import_reason_no_entry", {"name": rows}))
                continue
            yield from one(record, entry, lambda given: _conversation(mapping(given)))


def _conversation(record: Mapping[str, Any]) -> Conversation:
    own_id = text(record.get("id"))
    if not own_id:
        raise BadConversation("import_reason_no_messages")
    assistant = mapping(next(iter(items(record.get("assistants"))), None))
    model = text(mapping(assistant.get("model")).get("id")) or None
    favourite = (record.get("isFavorite"), mapping(record.get("metadata")).get("is_favorite"))
    found = Conversation(
        own_id,
        text(record.get("title")),
        moment(record.get("created")),
        moment(record.get("updated")),
        is_pinned=True in favourite,
    )
    before = None
    for at, row in enumerate(map(mapping, items(record.get("rows")))):
        message_id = text(row.get("id")) or str(at)
        found.messages += chain(before, message_id, _parts(found, row, model))
        before = message_id
    found.current = before
    return found


def _parts(found: Conversation, row: Mapping[str, Any], model: str | None) -> list[Message]:
    at, about = moment(row.get("created_at")), mapping(row.get("metadata"))
    said, thought, files = [], [], []
    for place, block in enumerate(map(mapping, items(row.get("content")))):
        given = block.get("text")
        words = text(given) or text(mapping(given).get("value"))
        match block.get("type"):
            case "text":
                said.append(words)
            case "reasoning":
                thought.append(words)
            case "image_url" | "image":
                url = block.get("image_url")
                files.append(_picture(str(place), text(url) or text(mapping(url).get("url"))))
            case _:
                found.left_out["other_content"] += 1
    whole = "\n\n".join(filter(None, said))
    if row.get("role") != "assistant":
        return [Message("", None, "question" if row.get("role") == "user" else "hidden", whole, at, files=tuple(files))]
    # Models write their thought before the answer, in tags.
    inner, answer = split(whole)
    thought = [*filter(None, (*thought, inner.strip()))]
    parts = [Message("", None, "thought", "\n\n".join(thought), at)] if thought else []
    for call in map(mapping, items(about.get("tool_calls"))):
        function = mapping(mapping(call.get("tool")).get("function")) or mapping(call.get("function"))
        given = text(function.get("arguments"))
        result = items(mapping(call.get("response")).get("content"))
        shown = "\n\n".join(filter(None, (text(mapping(piece).get("text")) for piece in result)))
        parts.append(Message("", None, "tool", shown, at, name=text(function.get("name")), input=given))
    own_model = text(mapping(about.get("assistant")).get("model")) or text(about.get("modelId")) or model
    return [*parts, Message("", None, "answer", answer.strip(), at, own_model, files=tuple(files))]


def _picture(file_id: str, url: str) -> Attachment:
    if match := _DATA.match(url):
        try:
            data = base64.b64decode(url[match.end() :], validate=True)
        except binascii.Error:
            return Attachment(file_id, "picture")
        mime = mime_of("", data[:16])
        return Attachment(file_id, f"picture-{file_id}.{mime.rpartition('/')[2]}", mime, data=data)
    return Attachment(file_id, url.rpartition("/")[2] or "picture")
