"""DeepSeek's export: a tree like that of ChatGPT, whose messages are fragments.

No node is marked as the current one: it is the last child at each fork.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from threadkeeper.importing.model import Attachment, BadConversation, Conversation, Kind, Message, Read, Source
from threadkeeper.importing.package import Package, Shape
from threadkeeper.importing.values import chain, each, items, mapping, moment, text

_KINDS: dict[str, Kind] = {"REQUEST": "question", "RESPONSE": "answer", "THINK": "thought"}


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
    for key, node in nodes.items():
        found.messages += chain(parents[key], key, _parts(found, mapping(node.get("message"))))
    found.current = _last(nodes, parents)
    return found


def _parts(found: Conversation, about: Mapping[str, Any]) -> list[Message]:
    at, model = moment(about.get("inserted_at")), text(about.get("model")) or None
    files = [Attachment(str(number), _name(file)) for number, file in enumerate(items(about.get("files")))]
    parts: list[Message] = []
    for fragment in map(mapping, items(about.get("fragments"))):
        kind, said = text(fragment.get("type")), text(fragment.get("content"))
        if kind in _KINDS and said:
            parts.append(Message("", None, _KINDS[kind], said, at))
        elif kind == "SEARCH":
            results = [mapping(one) for one in items(fragment.get("results"))]
            shown = "\n".join(f"{text(one.get('title'))} {text(one.get('url'))}".strip() for one in results)
            sources = tuple(Source(url) for one in results if (url := text(one.get("url"))).startswith("http"))
            parts.append(Message("", None, "tool", shown, at, name="search", sources=sources))
        elif kind not in _KINDS:
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
        parts[-1].files = tuple(files)
    return parts or [Message("", None, "hidden")]


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
