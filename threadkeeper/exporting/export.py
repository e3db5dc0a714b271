"""Exports one thread or all threads of the acting user, as a stream: a few threads at a time are in memory."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import partial
from typing import Any, Protocol

from datalayer import BlobNotFound, Element, OpenBlob
from threadkeeper.exporting import html, markdown
from threadkeeper.exporting.messages import Say, said_in
from threadkeeper.language.catalogue import PAGES
from threadkeeper.language.negotiation import DEFAULT

FORMATS = {
    "markdown": ("md", "text/markdown; charset=utf-8"),
    "html": ("html", "text/html; charset=utf-8"),
    "json": ("json", "application/json"),
    "openai": ("jsonl", "application/jsonl"),
}
"""The formats by name, each with the ending of its files and its type."""
LARGEST_FILE = 5 * 1024 * 1024
"""Bytes of a picture within HTML, or of a file within JSON; larger ones are named."""
MOST_FILES_BYTES = 50 * 1024 * 1024
"""Bytes of all files within one thread."""
JSON_FORMAT, JSON_VERSION = "threadkeeper-threads", 1
_AT_ONCE = 10
_ROLES = {"question": "user", "answer": "assistant"}


class ExportStore(Protocol):
    """What an export needs of the data layer."""

    async def threads_to_export(self, user_id: str) -> list[str]: ...
    async def export_threads(self, thread_ids: Sequence[str]) -> list[dict[str, Any]]: ...
    async def open_element(self, thread_id: str, element_id: str) -> tuple[Element, OpenBlob] | None: ...


@dataclass(frozen=True, slots=True)
class Contents:
    """Reads the files of a thread, within the bounds."""

    store: ExportStore

    async def of(self, thread: Mapping[str, Any], *, only_pictures: bool) -> dict[str, bytes]:
        """The contents of the thread's files by element id; without those that are missing or too large."""
        found: dict[str, bytes] = {}
        left = MOST_FILES_BYTES
        for element in thread["elements"]:
            if not element.get("objectKey") or (only_pictures and element.get("mime") not in html.PICTURES):
                continue
            try:
                opened = await self.store.open_element(thread["id"], element["id"])
            except BlobNotFound:
                continue
            if opened is None:
                continue
            async with opened[1] as blob:
                if blob.size <= min(LARGEST_FILE, left):
                    found[element["id"]] = b"".join([chunk async for chunk in blob])
                    left -= blob.size
        return found


async def export(
    store: ExportStore,
    user_id: str,
    thread_format: str,
    thread_ids: Sequence[str] | None = None,
    *,
    zone: tzinfo = UTC,
    language: str = DEFAULT,
) -> AsyncIterator[bytes]:
    """The file, in parts.

    Args:
        user_id: the acting user's id.
        thread_format: one of `FORMATS`.
        thread_ids: only these threads; by default all of now that are not temporary. Those of others are left out.
        zone: of the times in files for people; those for programs are UTC.
        language: of the words in files for people.
    """
    # Each thread is written in a thread of the process, because a long one takes the CPU for a while.
    threads = _threads(store, user_id, thread_ids)
    say = partial(PAGES.say, language=language)
    match thread_format:
        case "markdown":
            async for thread in threads:
                yield await asyncio.to_thread(_as_markdown, thread, say, zone)
        case "html":
            yield html.head(say, language).encode()
            async for thread in threads:
                contents = await Contents(store).of(thread, only_pictures=True)
                yield await asyncio.to_thread(_as_html, thread, contents, say, zone)
            yield html.FOOT.encode()
        case "json":
            yield f'{{"format": "{JSON_FORMAT}", "version": {JSON_VERSION}, "threads": ['.encode()
            between = b"\n"
            async for thread in threads:
                contents = await Contents(store).of(thread, only_pictures=False)
                yield between + await asyncio.to_thread(_as_json, thread, contents)
                between = b",\n"
            yield b"\n]}\n"
        case "openai":
            async for thread in threads:
                yield await asyncio.to_thread(_as_messages, thread)
        case _:
            raise ValueError(thread_format)


async def _threads(store: ExportStore, user_id: str, thread_ids: Sequence[str] | None) -> AsyncIterator[dict[str, Any]]:
    # All ids at once: the list by last activity changes while its owner chats.
    ids = await store.threads_to_export(user_id) if thread_ids is None else thread_ids
    for at in range(0, len(ids), _AT_ONCE):
        for thread in await store.export_threads(ids[at : at + _AT_ONCE]):
            yield thread


def _as_markdown(thread: Mapping[str, Any], say: Say, zone: tzinfo) -> bytes:
    return markdown.written(thread, say, zone).encode()


def _as_html(thread: Mapping[str, Any], contents: Mapping[str, bytes], say: Say, zone: tzinfo) -> bytes:
    return html.written(thread, contents, say, zone).encode()


def _as_json(thread: Mapping[str, Any], contents: Mapping[str, bytes]) -> bytes:
    """The thread as JSON: without keys of the file store, and with the files as base64."""
    described = {
        **thread,
        "elements": [
            {name: value for name, value in element.items() if name not in ("objectKey", "chainlitKey", "path")}
            | ({"content": base64.b64encode(contents[element["id"]]).decode()} if element["id"] in contents else {})
            for element in thread["elements"]
        ],
    }
    return json.dumps(described, ensure_ascii=False).encode()


def _as_messages(thread: Mapping[str, Any]) -> bytes:
    """A line with questions and answers, as OpenAI's API takes them. Thoughts, tools and files are no part of it."""
    said = [one for one in said_in(thread) if one.kind in _ROLES and one.text]
    found = {
        "id": thread["id"],
        "title": thread["name"],
        "created_at": thread["createdAt"],
        "messages": [{"role": _ROLES[one.kind], "content": one.text} for one in said],
    }
    return f"{json.dumps(found, ensure_ascii=False)}\n".encode()
