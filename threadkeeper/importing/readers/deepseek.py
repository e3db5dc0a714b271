"""DeepSeek's export: a tree like that of ChatGPT, whose messages are fragments.

No node is marked as the current one: it is the last child at each fork.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from threadkeeper.importing.model import Attachment, BadConversation, Conversation, Kind, Message, Read, Source
from threadkeeper.importing.package import Package, Shape
from threadkeeper.importing.sources import link
from threadkeeper.importing.values import chain, each, items, mapping, moment, number, text

_KINDS: dict[str, Kind] = {"REQUEST": "question", "RESPONSE": "answer", "THINK": "thought"}
_CITATION = re.compile(r" ?\[citation:(\d{1,6})\]")


class DeepSeek:
    source = "deepseek"

    def recognizes(self, shape: Shape) -> bool:
        return {"item.mapping", "item.inserted_at"} <= shape

    def read(self, package: Package, entries: list[str]) -> Iterator[Read]:
        for entry in entries:
            yield from each(package, entry, "item", lambda record: _conversation(mapping(record)))


def _conversation(record: Mapping[str, Any]) -> Conversation:
    nodes = {key: mapping(node) for key, node in mapping(record.get("mapping")).items()}
    own_id = text(record.get("id"))
    if not nodes or not own_id:
        raise BadConversation("import_reason_no_messages")
    found = Conversation(
        own_id, text(record.get("title")), moment(record.get("inserted_at")), moment(record.get("updated_at"))
    )
    parents = {key: text(node.get("parent")) or None for key, node in nodes.items()}
    for key, node in nodes.items():
        for child in items(node.get("children")):
            if isinstance(child, str) and child in nodes and parents[child] is None and child != key:
                parents[child] = key
    last: dict[str, Message] = {}
    for key, node in nodes.items():
        about = mapping(node.get("message"))
        parts = _parts(found, about)
        before = last.get(parents[key] or "")
        if not about.get("fragments") and not about.get("role") and [part.kind for part in parts] == ["answer"]:
            # Old exports name no roles: what follows no question is one.
            is_question = before is None or before.kind != "question"
            parts[0].kind, parts[0].model = ("question", None) if is_question else ("answer", parts[0].model)
        found.messages += chain(parents[key], key, parts)
        last[key] = parts[-1]
    found.current = _last(nodes, parents)
    return found


def _parts(found: Conversation, about: Mapping[str, Any]) -> list[Message]:
    at, model = moment(about.get("inserted_at")), text(about.get("model")) or None
    listed = [*items(about.get("files"))]
    parts: list[Message] = []
    pages: dict[int, Source] = {}
    for fragment in map(mapping, items(about.get("fragments"))):
        kind, said = text(fragment.get("type")), text(fragment.get("content"))
        if kind in _KINDS and said:
            part = Message("", None, _KINDS[kind], said, at)
            if part.kind == "answer":
                part.text, part.sources = _cited(said, pages)
            parts.append(part)
        elif kind == "SEARCH":
            results = [mapping(one) for one in items(fragment.get("results"))]
            pages |= _numbered(results)
            shown = "\n".join(f"{text(one.get('title'))} {text(one.get('url'))}".strip() for one in results)
            parts.append(Message("", None, "tool", shown, at, name="search"))
        elif kind == "FILE":
            listed += items(fragment.get("files"))
        elif kind not in _KINDS and said:
            found.left_out["other_content"] += 1
    if not parts and text(about.get("content")):
        # As in older exports.
        kind_of = "question" if text(about.get("role")).lower() == "user" else "answer"
        if thought := text(about.get("reasoning_content")):
            parts.append(Message("", None, "thought", thought, at))
        parts.append(Message("", None, "question" if kind_of == "question" else "answer", text(about["content"]), at))
    for part in parts:
        part.model = model if part.kind == "answer" else None
    if parts:
        # A file of a question stands both there and in its fragments.
        names = dict.fromkeys(map(_name, listed))
        parts[-1].files = tuple(Attachment(str(number), name) for number, name in enumerate(names))
    return parts or [Message("", None, "hidden")]


def _numbered(results: list[Mapping[str, Any]]) -> dict[int, Source]:
    """The pages of a search by the numbers with which an answer cites them."""
    pages = {}
    for one in results:
        at, url = number(one.get("cite_index")), text(one.get("url"))
        if at is not None and url.startswith(("http://", "https://")):
            pages[int(at)] = Source(url, text(one.get("title")))
    return pages


def _cited(said: str, pages: Mapping[int, Source]) -> tuple[str, tuple[Source, ...]]:
    """The answer with links in place of its marks, and the pages that it cites."""
    cited = [page for mark in _CITATION.finditer(said) if (page := pages.get(int(mark[1])))]

    def shown(mark: re.Match[str]) -> str:
        page = pages.get(int(mark[1]))
        return f" ({link(page)})" if page else mark[0]

    return _CITATION.sub(shown, said), tuple(dict.fromkeys(cited))


def _last(nodes: Mapping[str, Mapping[str, Any]], parents: Mapping[str, str | None]) -> str | None:
    """The node that the last child at each fork leads to."""
    roots = [key for key, parent in parents.items() if parent not in nodes]
    at, seen = roots[0] if roots else None, set[str]()
    while at is not None and at not in seen:
        seen.add(at)
        children = [one for one in items(nodes[at].get("children")) if isinstance(one, str) and one in nodes]
        if not children:
            return at
        at = children[-1]
    return None


def _name(file: Any) -> str:
    return text(file) or text(mapping(file).get("file_name")) or text(mapping(file).get("name")) or "file"
