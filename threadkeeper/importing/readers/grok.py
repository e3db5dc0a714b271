"""Grok's export: `prod-grok-backend.json` with conversations and their responses; uploaded files are in folders of
their ids.

The times of responses are those of MongoDB. Whoever did not write a question is the model, by whichever name.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from threadkeeper.importing.files import entry_attachment
from threadkeeper.importing.model import Attachment, BadConversation, Conversation, Message, Read, Source
from threadkeeper.importing.package import Package, Shape
from threadkeeper.importing.values import chain, each, items, mapping, moment, text

# Cards of the page, and what a thought calls.
_CARD = re.compile(r"\s?<(grok:render|xai:tool_usage_card)\b")


class Grok:
    source = "grok"

    def recognizes(self, shape: Shape) -> bool:
        return {"conversations.item.conversation", "conversations.item.responses"} <= shape

    def read(self, package: Package, entries: list[str]) -> Iterator[Read]:
        for entry in entries:
            yield from each(package, entry, "conversations.item", partial(_conversation, package))


def _conversation(package: Package, given: Any) -> Conversation:
    about, listed = mapping(mapping(given).get("conversation")), mapping(given).get("responses")
    own_id = text(about.get("id"))
    if not own_id or not isinstance(listed, list):
        raise BadConversation("import_reason_no_messages")
    found = Conversation(
        own_id,
        text(about.get("title")),
        moment(about.get("create_time")),
        moment(about.get("modify_time")),
        is_pinned=about.get("starred") is True,
    )
    responses = [mapping(mapping(one).get("response")) for one in listed]
    has_parents = any(text(one.get("parent_response_id")) for one in responses)
    before = None
    for at, one in enumerate(responses):
        message_id = text(one.get("_id")) or str(at)
        parent = text(one.get("parent_response_id")) or (None if has_parents else before)
        found.messages += chain(parent, message_id, _parts(package, one))
        before = message_id
    return found


def _parts(package: Package, one: Mapping[str, Any]) -> list[Message]:
    at, said = moment(_time(one.get("create_time"))), text(one.get("message"))
    files = tuple(_files(package, one))
    if text(one.get("sender")).lower() in ("human", "user"):
        return [Message("", None, "question", said, at, files=files)]
    said = _without_cards(said)
    parts: list[Message] = []
    traces = [one, *map(mapping, items(one.get("agent_thinking_traces")))]
    thought = "\n\n".join(filter(None, (_without_cards(text(trace.get("thinking_trace"))) for trace in traces)))
    if thought:
        begun, ended = (moment(_time(one.get(f"thinking_{name}_time"))) for name in ("start", "end"))
        seconds = (ended - begun).total_seconds() if begun and ended and ended >= begun else None
        parts.append(Message("", None, "thought", thought, begun or at, seconds=seconds))
    failure = text(one.get("error"))
    answer = Message("", None, "answer", said or failure, at, files=files, is_error=bool(failure and not said))
    answer.model, answer.sources = text(one.get("model")) or None, tuple(_sources(one))
    return [*parts, answer]


def _without_cards(said: str) -> str:
    """The text without its cards; one that is never closed stays. Linear: what has no end is looked for once."""
    kept: list[str] = []
    begin, endless = 0, set[str]()
    for opening in _CARD.finditer(said):
        name = opening[1]
        if opening.start() < begin or name in endless:
            continue
        closing = f"</{name}>"
        end = said.find(closing, opening.end())
        if end < 0:
            endless.add(name)
            continue
        kept.append(said[begin : opening.start()])
        begin = end + len(closing)
    return "".join((*kept, said[begin:])).strip()


def _time(given: Any) -> Any:
    """A time of MongoDB as its number of milliseconds."""
    at = mapping(given).get("$date", given)
    return mapping(at).get("$numberLong", at)


def _sources(one: Mapping[str, Any]) -> Iterator[Source]:
    for page in map(mapping, items(one.get("cited_web_search_results"))):
        if (url := text(page.get("url"))).startswith(("http://", "https://")):
            yield Source(url, text(page.get("title")))


def _files(package: Package, one: Mapping[str, Any]) -> Iterator[Attachment]:
    for file_id in filter(None, map(text, items(one.get("file_attachments")))):
        entry = package.by_last_parts.get(f"{file_id}/content")
        yield entry_attachment(package, file_id, file_id, entry) if entry else Attachment(file_id, file_id)
    for url in filter(None, map(text, items(one.get("generated_image_urls")))):
        yield Attachment(url, PurePosixPath(url.partition("?")[0]).name or "picture")
