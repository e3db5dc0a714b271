"""Embeds the documents of a training in batches, whichever source they are of, and stores them.

While one batch is stored the next one is embedded, and while that is embedded further documents are loaded. So the
embedding model never waits for the database or for the process that loads a small file.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence

from datalayer.records.knowledge import NewDocument
from threadkeeper.knowledge.embedding.base import Embedded
from threadkeeper.knowledge.preparing import WaitingDocument, new_document

_WINDOWS_AT_ONCE = 64
# A document that is larger than this waits alone.
_WINDOWS_WAITING = 2 * _WINDOWS_AT_ONCE


class Batches:
    """The documents that wait to be embedded and stored. `run` works until it is cancelled or fails.

    Args:
        embed: gives the vectors of texts.
        keep: stores documents.
    """

    def __init__(
        self,
        embed: Callable[[Sequence[str]], Awaitable[Embedded]],
        keep: Callable[[Sequence[NewDocument]], Awaitable[None]],
    ) -> None:
        self._embed, self._keep = embed, keep
        self._changed = asyncio.Condition()
        self._waiting: deque[WaitingDocument] = deque()
        self._windows = 0
        self._unstored: Counter[str] = Counter()

    async def put(self, document: WaitingDocument) -> None:
        """Add a document; waits while many are there."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._windows < _WINDOWS_WAITING)
            self._waiting.append(document)
            self._windows += document.size
            self._unstored[document.source_id] += 1
            self._changed.notify_all()

    async def stored(self, source_id: str) -> None:
        """Wait until all documents of a source that were put here are stored."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._unstored[source_id])

    async def run(self) -> None:
        """Embed and store what is put here. Raises what `embed` and `keep` raise."""
        storing: asyncio.Task[None] | None = None
        try:
            while True:
                batch = await self._next()
                embedded = await self._embed([window for one in batch for window in one.windows])
                if storing is not None:
                    await storing
                storing = asyncio.create_task(self._store(batch, embedded))
        finally:
            if storing is not None:
                storing.cancel()
                await asyncio.gather(storing, return_exceptions=True)

    async def _next(self) -> list[WaitingDocument]:
        """The documents of the next batch: as many as wait, up to a number of windows."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting)
            batch: list[WaitingDocument] = []
            size = 0
            while self._waiting and size < _WINDOWS_AT_ONCE:
                batch.append(self._waiting.popleft())
                size += batch[-1].size
            self._windows -= size
            self._changed.notify_all()
        return batch

    async def _store(self, batch: Sequence[WaitingDocument], embedded: Embedded) -> None:
        # What the batch cost is counted with its first document.
        tokens, cost = embedded.tokens, embedded.cost
        added: list[NewDocument] = []
        at = 0
        for one in batch:
            added.append(new_document(one, embedded.vectors[at : at + one.size], tokens, cost))
            at += one.size
            tokens, cost = 0, None if cost is None else cost * 0
        await self._keep(added)
        async with self._changed:
            self._unstored.subtract(one.source_id for one in batch)
            self._changed.notify_all()
