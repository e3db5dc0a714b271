"""The export of chat-ui, with which HuggingChat is made: a ZIP with `conversations.json`.

A message names those before it, and lists the files of the whole conversation: they belong to its first question here.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from datalayer.thought import split
from threadkeeper.importing.files import entry_attachment
from threadkeeper.importing.model import Attachment, BadConversation, Conversation, Message, Read, Source, Vote
from threadkeeper.importing.package import Package, Shape
from threadkeeper.importing.values import chain, each, items, mapping, moment, number, text


class ChatUI:
    source = "chat-ui"

    def recognizes(self, shape: Shape) -> bool:
        return {"item.messages.item.from", "item.messages.item.content"} <= shape

    def read(self, package: Package, entries: list[str]) -> Iterator[Read]:
        for entry in entries:
            yield from each(package, entry, "item", partial(_conversation, package))


def _conversation(package: Package, given: Any) -> Conversation:
    record, listed = mapping(given), mapping(given).get("messages")
    key = record.get("_id", record.get("id"))
    own_id = text(key) or text(mapping(key).get("$oid"))
    if not own_id or not isinstance(listed, list):
        raise BadConversation("import_reason_no_messages")
    found = Conversation(
        own_id, text(record.get("title")), moment(record.get("createdAt")), moment(record.get("updatedAt"))
    )
    before, files = None, True
    for at, one in enumerate(map(mapping, listed)):
        message_id = text(one.get("id")) or str(at)
        # Conversations from before there were branches are a list.
        parent = text(next(reversed(items(one["ancestors"])), None)) if "ancestors" in one else before
        parts = _parts(one, text(record.get("model")))
        if files and parts[0].kind == "question":
            parts[0].files, files = tuple(_files(package, one)), False
        found.messages += chain(parent or None, message_id, parts)
        before = message_id
    return found


def _parts(one: Mapping[str, Any], model: str) -> list[Message]:
    at, said, role = moment(one.get("createdAt")), text(one.get("content")), one.get("from")
    if role != "assistant":
        return [Message("", None, "question" if role == "user" else "hidden", said, at)]
    inner, answer = split(said)
    thought = "\n\n".join(filter(None, (text(one.get("reasoning")).strip(), inner.strip())))
    parts = [Message("", None, "thought", thought, at)] if thought else []
    own_model = text(mapping(one.get("routerMetadata")).get("model")) or model or None
    last = Message("", None, "answer", answer.strip() if inner else said, at, own_model, vote=_vote(one))
    last.sources = tuple(_sources(mapping(one.get("webSearch"))))
    return [*parts, last]


def _vote(one: Mapping[str, Any]) -> Vote | None:
    score = number(one.get("score"))
    return Vote(1 if score > 0 else 0) if score else None


def _sources(search: Mapping[str, Any]) -> Iterator[Source]:
    for page in map(mapping, items(search.get("contextSources"))):
        if (url := text(page.get("link"))).startswith(("http://", "https://")):
            yield Source(url, text(page.get("title")))


def _files(package: Package, one: Mapping[str, Any]) -> Iterator[Attachment]:
    for at, given in enumerate(items(one.get("files"))):
        name = text(given) or text(mapping(given).get("name"))
        entry = package.by_base_name.get(name)
        yield entry_attachment(package, str(at), name, entry) if entry else Attachment(str(at), name or "file")
