"""Remembers attachments that were read before: the files of a thread go to the model again with every turn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from threadkeeper.chat.attachments.reader import Attachment, Picture


class AttachmentCache:
    """Called like the `load` that it stands before; keeps the newest results, by element id, within `max_bytes`.

    It checks no rights: give it only elements of threads that the user has been shown to own.
    """

    def __init__(
        self, load: Callable[[Mapping[str, Any]], Awaitable[Attachment | None]], *, max_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self._load = load
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, Attachment] = OrderedDict()

    async def __call__(self, element: Mapping[str, Any]) -> Attachment | None:
        """Raises what `load` raises; nothing is remembered then, nor when it gives None."""
        key = str(element["id"])
        if (known := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return known
        attachment = await self._load(element)
        if attachment is not None and key not in self._kept and _size(attachment) <= self._max_bytes:
            self._kept[key] = attachment
            self._bytes += _size(attachment)
            while self._bytes > self._max_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= _size(oldest)
        return attachment


def _size(attachment: Attachment) -> int:
    # A character of text takes up to four bytes, mostly one or two.
    return len(attachment.data) if isinstance(attachment, Picture) else 2 * len(attachment.text)
