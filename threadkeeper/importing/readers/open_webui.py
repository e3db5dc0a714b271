"""Open WebUI's export: an array of chats, each with a tree of messages in `chat.history.messages`.

The parts of an answer are in `output`; older versions put thought and runs of tools in front of the text, as
`<details>`. Pictures are within the JSON.
"""

import base64
import binascii
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from threadkeeper.importing.files import mime_of
from threadkeeper.importing.model import Attachment, BadConversation, Conversation, Message, Read, Source, Vote
from threadkeeper.importing.package import Package, Shape
from threadkeeper.importing.values import chain, each, items, mapping, moment, number, text

# Where `<details>` begins, or a code fence, in which it is text.
_OPENING = re.compile(
    r'<details type="(?P<kind>reasoning|tool_calls|code_interpreter)"|^ {0,3}(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})',
    re.MULTILINE,
)
_CLOSING = "</details>"
_SUMMARY = re.compile(r"\s*<summary>[^<]*</summary>")
_ATTRIBUTE = re.compile(r'(?<!\w)(\w+)="([^"]*)"')
_QUOTED = re.compile(r"^&gt; ?|^> ?", re.MULTILINE)
# What a question was asked of, in the list of its files.
_NO_FILES = {"collection", "web_search", "web_search_results", "note", "chat", "folder"}
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,")


class OpenWebUI:
    source = "open-webui"

    def recognizes(self, shape: Shape) -> bool:
        # Old exports have the chats themselves.
        return not shape.isdisjoint({"item.chat.history", "item.chat.messages", "item.history.currentId"})

    def read(self, package: Package, entries: list[str]) -> Iterator[Read]:
        for entry in entries:
            yield from each(package, entry, "item", lambda record: _conversation(mapping(record)))


def _conversation(record: Mapping[str, Any]) -> Conversation | None:
    chat = mapping(record.get("chat")) if "chat" in record else record
    history = mapping(chat.get("history"))
    listed: Sequence[Any] = [*mapping(history.get("messages")).values()] or items(chat.get("messages"))
    # A chat that was exported alone may have no id; its first message has one.
    own_id = text(record.get("id")) or text(chat.get("id")) or next(iter(mapping(history.get("messages"))), "")
    if not chat or not own_id:
        raise BadConversation("import_reason_no_messages")
    if not listed:
        return None
    found = Conversation(
        own_id,
        text(record.get("title")) or text(chat.get("title")),
        moment(record.get("created_at")) or moment(chat.get("timestamp")),
        moment(record.get("updated_at")),
        current=text(history.get("currentId")) or None,
        is_archived=record.get("archived") is True,
        is_pinned=record.get("pinned") is True,
        tags=tuple(tag for tag in items(mapping(record.get("meta")).get("tags")) if isinstance(tag, str)),
    )
    before = None
    for at, one in enumerate(map(mapping, listed)):
        message_id = text(one.get("id")) or str(at)
        parent = text(one.get("parentId")) or None if "parentId" in one else before
        found.messages += chain(parent, message_id, _parts(found, one))
        before = message_id
    return found


def _parts(found: Conversation, one: Mapping[str, Any]) -> list[Message]:
    at, said = moment(one.get("timestamp")), _texts(one.get("content"))
    files = tuple(_files(one))
    if one.get("role") != "assistant":
        return [Message("", None, "question" if one.get("role") == "user" else "hidden", said, at, files=files)]
    parts = _of_output(found, items(one.get("output"))) or [*_of_content(said)]
    parts = [*_searches(one), *_executions(one), *parts]
    if failure := text(one.get("error")) or text(mapping(one.get("error")).get("content")):
        parts.append(Message("", None, "answer", failure, is_error=True))
    for part in parts:
        part.at = at
    answers = [part for part in reversed(parts) if part.kind == "answer"]
    if not answers:
        answers = [Message("", None, "answer", at=at)]
        parts += answers
    # An error has the files and the vote only where nothing was answered.
    answer = next((part for part in answers if not part.is_error), answers[0])
    for part in parts:
        part.model = text(one.get("model")) or None if part.kind == "answer" else None
    answer.files, answer.vote, answer.sources = files, _vote(one), tuple(_sources(one))
    return parts


def _of_output(found: Conversation, output: Sequence[Any]) -> list[Message]:
    parts: list[Message] = []
    calls: dict[str, Message] = {}
    for item in map(mapping, output):
        match item.get("type"):
            case "reasoning":
                thought = _texts(item.get("content")) or _texts(item.get("summary"))
                if thought:
                    parts.append(Message("", None, "thought", thought, seconds=number(item.get("duration"))))
            case "message":
                if said := _texts(item.get("content")).strip():
                    parts.append(Message("", None, "answer", said))
            case "function_call":
                call = Message("", None, "tool", name=text(item.get("name")), input=text(item.get("arguments")))
                calls[text(item.get("call_id"))] = call
                parts.append(call)
            case "function_call_output":
                call = calls.pop(text(item.get("call_id")), Message("", None, "tool"))
                call.text = _texts(item.get("output"))
                if not any(part is call for part in parts):
                    parts.append(call)
            case "open_webui:code_interpreter" | "code_interpreter":
                result = item.get("output")
                shown = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False) if result else ""
                parts.append(Message("", None, "tool", shown, name="code_interpreter", input=text(item.get("code"))))
            case _:
                found.left_out["other_content"] += 1
    return parts


def _of_content(said: str) -> Iterator[Message]:
    """The parts of a text that has `<details>` before, between and behind its words."""
    begin = 0
    for start, end, kind, attributes, within in _details(said):
        if before := said[begin:start].strip():
            yield Message("", None, "answer", before)
        begin = end
        about = {name: _unescaped(value) for name, value in _ATTRIBUTE.findall(attributes)}
        if kind == "reasoning":
            seconds = about.get("duration", "")
            thought = _unescaped(_QUOTED.sub("", within.strip())).strip()
            yield Message("", None, "thought", thought, seconds=float(seconds) if seconds.isdecimal() else None)
        else:
            output = about.get("result") or about.get("output") or _unescaped(within.strip())
            given = _plain(about.get("arguments", ""))
            yield Message("", None, "tool", _plain(output), name=about.get("name", kind), input=given)
    if rest := said[begin:].strip():
        yield Message("", None, "answer", rest)


def _details(said: str) -> Iterator[tuple[int, int, str, str, str]]:
    """Each `<details>` that is closed and in no code fence: its begin and end, its type, its attributes, and what
    is within.

    Linear: where something has no end, nothing behind it has one either.
    """
    at = 0
    while opening := _OPENING.search(said, at):
        if fence := opening["fence"]:
            closing = re.compile(rf"^ {{0,3}}{fence[0]}{{{len(fence)},}}[ \t\r]*$", re.MULTILINE)
            # A fence that is never closed goes to the end of the text.
            closed = closing.search(said, opening.end())
            if closed is None:
                return
            at = closed.end()
            continue
        head = said.find(">", opening.end())
        end = said.find(_CLOSING, head) if head >= 0 else -1
        if end < 0:
            return
        summary = _SUMMARY.match(said, head + 1, end)
        within = said[summary.end() if summary else head + 1 : end]
        at = end + len(_CLOSING)
        yield opening.start(), at, opening["kind"], said[opening.end() : head], within


def _unescaped(value: str) -> str:
    try:
        return html.unescape(value)
    except ValueError:
        # The number of a character has more digits than Python reads.
        return value


def _searches(one: Mapping[str, Any]) -> Iterator[Message]:
    """The searches before an answer, of which its status tells."""
    asked: list[str] = []
    for status in map(mapping, items(one.get("statusHistory"))):
        asked += (query for query in items(status.get("queries")) if isinstance(query, str))
        found = [text(mapping(item).get("link")) for item in items(status.get("items"))]
        found = list(filter(None, (*map(text, items(status.get("urls"))), *found)))
        if status.get("action") == "web_search" and found:
            given = "\n".join(asked) or text(status.get("query"))
            yield Message("", None, "tool", "\n".join(dict.fromkeys(found)), name="web_search", input=given)
            asked = []


def _executions(one: Mapping[str, Any]) -> Iterator[Message]:
    for run in map(mapping, items(one.get("code_executions"))):
        result = mapping(run.get("result"))
        failure = text(result.get("error"))
        shown = "\n".join(filter(None, (text(result.get("output")), failure)))
        name = text(run.get("name")) or "code_interpreter"
        yield Message("", None, "tool", shown, name=name, input=text(run.get("code")), is_error=bool(failure))


def _plain(value: str) -> str:
    """A value of an attribute: text is a JSON string there, in quotes."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        # It is no JSON, or JSON that is nested too deeply.
        return value
    return found if isinstance(found, str) else value


def _texts(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n\n".join(filter(None, (text(mapping(piece).get("text")) for piece in items(content))))


def _files(one: Mapping[str, Any]) -> Iterator[Attachment]:
    for at, file in enumerate(map(mapping, items(one.get("files")))):
        if file.get("type") in _NO_FILES:
            continue
        within = mapping(file.get("file"))
        name = text(file.get("name")) or text(within.get("filename"))
        url, content = text(file.get("url")), text(mapping(within.get("data")).get("content"))
        file_id = text(file.get("id")) or f"{one.get('id')}/{at}"
        if match := _DATA.match(url):
            try:
                data = base64.b64decode(url[match.end() :], validate=True)
            except binascii.Error:
                yield Attachment(file_id, name or "file")
            else:
                mime = mime_of(name, data[:16])
                yield Attachment(file_id, name or f"picture-{at + 1}.{mime.rpartition('/')[2]}", mime, data=data)
        elif content:
            # The text of the document, not the document.
            shown = name if name.endswith((".txt", ".md")) else f"{name or 'document'}.txt"
            yield Attachment(file_id, shown, "text/plain", data=content.encode("utf-8", "replace"))
        else:
            yield Attachment(file_id, name or "file")


def _vote(one: Mapping[str, Any]) -> Vote | None:
    about = mapping(one.get("annotation"))
    rating = number(about.get("rating"))
    if not rating:
        return None
    return Vote(1 if rating > 0 else 0, text(about.get("comment")) or text(about.get("reason")) or None)


def _sources(one: Mapping[str, Any]) -> Iterator[Source]:
    for cited in map(mapping, items(one.get("sources")) or items(one.get("citations"))):
        about = mapping(cited.get("source"))
        documents = [mapping(found) for found in items(cited.get("metadata"))]
        # Pages of a search have their own addresses, and the source only what was searched.
        for document in documents or [{}]:
            given = (document.get("source_url"), document.get("source"), about.get("url"), about.get("id"))
            url = next((one for one in map(text, given) if one.startswith(("http://", "https://"))), "")
            if url:
                named = text(document.get("title")) or text(document.get("name")) or text(about.get("name"))
                yield Source(url, named)
