"""Caches attachments that were read, because the files of a thread go to the model again with every turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from cachetools import LRUCache

from threadkeeper.chat.attachments.reader import Attachment, Picture


class AttachmentCache:
    """Called like the `load` that it wraps. Keeps the results that were used last, by element id.

    It checks no rights: pass only elements of threads that the user may read.

    Args:
        load: reads the file of an ElementDict; None if it is not in the store.
        max_bytes: size of all results together; a larger one is returned and not kept.
    """

    def __init__(
        self, load: Callable[[Mapping[str, Any]], Awaitable[Attachment | None]], *, max_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self._load = load
        self._kept: LRUCache[str, Attachment] = LRUCache(max_bytes, getsizeof=_size)

    async def __call__(self, element: Mapping[str, Any]) -> Attachment | None:
        """Raises what `load` raises. Neither an error nor None is kept."""
        key = str(element["id"])
        if (known := self._kept.get(key)) is not None:
            return known
        attachment = await self._load(element)
        if attachment is not None:
            self.keep(key, attachment)
        return attachment

    def keep(self, element_id: str, attachment: Attachment) -> None:
        """Keep what was read of the file of this element, if there is room for it."""
        if _size(attachment) <= self._kept.maxsize:
            self._kept[element_id] = attachment


def _size(attachment: Attachment) -> int:
    # A character of text takes up to four bytes, mostly one or two.
    return len(attachment.data) if isinstance(attachment, Picture) else 2 * len(attachment.text)
