"""The citations of an assistant's answer as annotations, in the answer's message and in a stream.

A passage of a web page is a `url_citation`; one of a file is a `file_citation`. Chat completions know the first one
alone, so the second one has the same form there: https://platform.openai.com/docs/api-reference/chat/object and
https://platform.openai.com/docs/api-reference/responses/object.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from datalayer.records.knowledge import Passage
from threadkeeper.citations import citations
from threadkeeper.gateway.v1.frames import FrameRewriter, WholeRewriter

_ENDS_OF_TEXT = (
    *("response.output_text.done", "response.content_part.done", "response.output_item.done"),
    *("response.completed", "response.incomplete"),
)


@dataclass(frozen=True, slots=True)
class Citing:
    """The passages that an answer can cite, by number, and the addresses of their sources."""

    passages: Mapping[int, Passage]
    addresses: Mapping[str, str] = field(default_factory=dict)

    def of_chat(self, text: str) -> list[dict[str, Any]]:
        """The annotations of a message of chat completions."""
        found = []
        for begin, end, passage in self._cited(text):
            place = {"start_index": begin, "end_index": end, "title": _title(passage)}
            if url := self.addresses.get(passage.source_id):
                found.append({"type": "url_citation", "url_citation": {**place, "url": url}})
            else:
                named = {**place, "file_id": passage.source_id, "filename": passage.document_title, "index": end}
                found.append({"type": "file_citation", "file_citation": {**named, **_page(passage)}})
        return found

    def of_responses(self, text: str) -> list[dict[str, Any]]:
        """The annotations of a text of Responses."""
        found: list[dict[str, Any]] = []
        for begin, end, passage in self._cited(text):
            if url := self.addresses.get(passage.source_id):
                place = {"start_index": begin, "end_index": end, "title": _title(passage)}
                found.append({"type": "url_citation", **place, "url": url})
            else:
                named = {"file_id": passage.source_id, "filename": passage.document_title, "index": end}
                found.append({"type": "file_citation", **named, **_page(passage)})
        return found

    def _cited(self, text: str) -> Iterator[tuple[int, int, Passage]]:
        for one in citations(text, self.passages):
            for number in one.numbers:
                yield one.begin, one.end, self.passages[number]


def _title(passage: Passage) -> str:
    return passage.document_title if passage.page is None else f"{passage.document_title}, p. {passage.page}"


def _page(passage: Passage) -> dict[str, int]:
    return {} if passage.page is None else {"page": passage.page}


class CitedAnswer(WholeRewriter):
    """Puts the annotations into an answer, and `metadata` beside them."""

    def __init__(self, citing: Citing, metadata: Mapping[str, str]) -> None:
        super().__init__()
        self._citing, self._metadata = citing, metadata

    def change(self, answer: dict[str, Any]) -> None:
        if self._metadata:
            answer["metadata"] = {**(answer.get("metadata") or {}), **self._metadata}
        self.annotate(answer)

    def annotate(self, answer: dict[str, Any]) -> None:
        """Put the annotations into the answer."""
        raise NotImplementedError


class CitedChat(CitedAnswer):
    """Annotates the messages of a chat completion."""

    def annotate(self, answer: dict[str, Any]) -> None:
        for choice in answer.get("choices") or ():
            message = choice["message"]
            if isinstance(message.get("content"), str) and (found := self._citing.of_chat(message["content"])):
                message["annotations"] = [*(message.get("annotations") or ()), *found]


class CitedChunks(FrameRewriter):
    """Puts a chunk with the annotations of each choice before the chunk that ends it."""

    def __init__(self, citing: Citing) -> None:
        super().__init__()
        self._citing = citing
        self._texts: dict[int, list[str]] = defaultdict(list)
        self._head: dict[str, Any] = {}

    def change(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._head = {name: event[name] for name in ("id", "object", "created", "model") if name in event}
        for choice in event.get("choices") or ():
            index, delta = choice.get("index") or 0, choice.get("delta") or {}
            if isinstance(delta.get("content"), str):
                self._texts[index].append(delta["content"])
            if choice.get("finish_reason") is not None:
                yield from self._annotated(index)
        yield event

    def end(self) -> Iterator[dict[str, Any]]:
        for index in list(self._texts):
            yield from self._annotated(index)

    def _annotated(self, index: int) -> Iterator[dict[str, Any]]:
        if found := self._citing.of_chat("".join(self._texts.pop(index, ()))):
            choice = {"index": index, "delta": {"annotations": found}, "finish_reason": None}
            yield {**self._head, "choices": [choice]}


class CitedResponse(CitedAnswer):
    """Annotates the texts of a response."""

    def annotate(self, answer: dict[str, Any]) -> None:
        annotate(answer, self._citing)


class CitedResponseEvents(FrameRewriter):
    """Puts events with the annotations of each text before the event that ends it, and counts the events anew."""

    def __init__(self, citing: Citing) -> None:
        super().__init__()
        self._citing = citing
        self._texts: dict[tuple[str, int, int], list[str]] = defaultdict(list)
        self._added = 0

    def change(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        kind = event.get("type")
        if kind == "response.output_text.delta":
            place = (event["item_id"], event["output_index"], event["content_index"])
            self._texts[place].append(event["delta"])
        elif kind in _ENDS_OF_TEXT:
            number = event.get("sequence_number")
            yield from self._annotated(number if isinstance(number, int) else 0)
            event = _counted(event, self._added)
            for name in ("response", "item", "part"):
                if isinstance(event.get(name), dict):
                    annotate(event[name], self._citing)
            yield {**event}
            return
        yield _counted(event, self._added)

    def _annotated(self, number: int) -> Iterator[dict[str, Any]]:
        texts, self._texts = self._texts, defaultdict(list)
        for (item, output, content), parts in texts.items():
            for at, annotation in enumerate(self._citing.of_responses("".join(parts))):
                yield {
                    "type": "response.output_text.annotation.added",
                    "item_id": item,
                    "output_index": output,
                    "content_index": content,
                    "annotation_index": at,
                    "annotation": annotation,
                    "sequence_number": number + self._added,
                }
                self._added += 1


def _counted(event: dict[str, Any], added: int) -> dict[str, Any]:
    number = event.get("sequence_number")
    return {**event, "sequence_number": number + added} if added and isinstance(number, int) else event


def annotate(value: dict[str, Any], citing: Citing) -> None:
    """Put the annotations into a response, an item of it, or a part."""
    if value.get("type") == "output_text" and isinstance(value.get("text"), str):
        value["annotations"] = [*(value.get("annotations") or ()), *citing.of_responses(value["text"])]
    for name in ("output", "content"):
        for inner in value.get(name) or () if isinstance(value.get(name), list) else ():
            if isinstance(inner, dict):
                annotate(inner, citing)
