"""Exports one thread or all threads of the acting user, as a stream: a few threads at a time are in memory."""

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from datalayer import BlobNotFound, Element, OpenBlob, OwnThreadPage, ThreadChoice
from threadkeeper.exporting import html, markdown
from threadkeeper.exporting.messages import said_in

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
_PAGE = 100
_AT_ONCE = 10
_ROLES = {"question": "user", "answer": "assistant"}


class ExportStore(Protocol):
    """What an export needs of the data layer."""

    async def own_threads(
        self, user_id: str, which: ThreadChoice = ..., *, cursor: str | None = None, limit: int = 50
    ) -> OwnThreadPage: ...
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
    store: ExportStore, user_id: str, thread_format: str, thread_ids: Sequence[str] | None = None
) -> AsyncIterator[bytes]:
    """The file, in parts.

    Args:
        user_id: the acting user's id.
        thread_format: one of `FORMATS`.
        thread_ids: only these threads; by default all that are not temporary. Those of others are left out.
    """
    threads = _threads(store, user_id, thread_ids)
    match thread_format:
        case "markdown":
            async for thread in threads:
                yield markdown.written(thread).encode()
        case "html":
            yield html.HEAD.encode()
            async for thread in threads:
                yield html.written(thread, await Contents(store).of(thread, only_pictures=True)).encode()
            yield html.FOOT.encode()
        case "json":
            yield f'{{"format": "{JSON_FORMAT}", "version": {JSON_VERSION}, "threads": ['.encode()
            between = "\n"
            async for thread in threads:
                described = _described(thread, await Contents(store).of(thread, only_pictures=False))
                yield f"{between}{json.dumps(described, ensure_ascii=False)}".encode()
                between = ",\n"
            yield b"\n]}\n"
        case "openai":
            async for thread in threads:
                yield f"{json.dumps(_messages(thread), ensure_ascii=False)}\n".encode()
        case _:
            raise ValueError(thread_format)


async def _threads(store: ExportStore, user_id: str, thread_ids: Sequence[str] | None) -> AsyncIterator[dict[str, Any]]:
    async for ids in _ids(store, user_id, thread_ids):
        for at in range(0, len(ids), _AT_ONCE):
            for thread in await store.export_threads(ids[at : at + _AT_ONCE]):
                yield thread


async def _ids(store: ExportStore, user_id: str, thread_ids: Sequence[str] | None) -> AsyncIterator[Sequence[str]]:
    if thread_ids is not None:
        yield thread_ids
        return
    cursor = None
    while True:
        page = await store.own_threads(user_id, ThreadChoice(is_archived=None), cursor=cursor, limit=_PAGE)
        yield [thread.id for thread in page.threads]
        cursor = page.next_cursor
        if cursor is None:
            return


def _described(thread: Mapping[str, Any], contents: Mapping[str, bytes]) -> dict[str, Any]:
    """The thread as JSON: without keys of the file store, and with the files as base64."""
    return {
        **thread,
        "elements": [
            {name: value for name, value in element.items() if name not in ("objectKey", "chainlitKey", "path")}
            | ({"content": base64.b64encode(contents[element["id"]]).decode()} if element["id"] in contents else {})
            for element in thread["elements"]
        ],
    }


def _messages(thread: Mapping[str, Any]) -> dict[str, Any]:
    """The questions and answers, as OpenAI's API takes them. Thoughts, tools and files are no part of it."""
    said = [one for one in said_in(thread) if one.kind in _ROLES and one.text]
    return {
        "id": thread["id"],
        "title": thread["name"],
        "created_at": thread["createdAt"],
        "messages": [{"role": _ROLES[one.kind], "content": one.text} for one in said],
    }
