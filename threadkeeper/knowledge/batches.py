"""Embeds the documents of a training in batches, whichever source they are of, and stores them. A large document is in
several batches.

While one batch is stored the next one is embedded, and while that is embedded further documents are loaded. So the
embedding model never waits for the database or for the process that loads a small file.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence

from threadkeeper.knowledge.embedding.base import Embedded
from threadkeeper.knowledge.preparing import EmbeddedPiece, Piece, new_passages

WINDOWS_AT_ONCE = 64
_WINDOWS_WAITING = 2 * WINDOWS_AT_ONCE


class Batches:
    """The pieces of documents that wait to be embedded and stored. `run` works until it is cancelled or fails.

    Args:
        embed: gives the vectors of texts.
        keep: stores pieces, those of a document in their order.
    """

    def __init__(
        self,
        embed: Callable[[Sequence[str]], Awaitable[Embedded]],
        keep: Callable[[Sequence[EmbeddedPiece]], Awaitable[None]],
    ) -> None:
        self._embed, self._keep = embed, keep
        self._changed = asyncio.Condition()
        self._waiting: deque[Piece] = deque()
        self._windows = 0
        self._unstored: Counter[str] = Counter()

    async def put(self, piece: Piece) -> None:
        """Add a piece; waits while many are there."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._windows < _WINDOWS_WAITING)
            self._waiting.append(piece)
            self._windows += piece.size
            self._unstored[piece.waiting.source_id] += 1
            self._changed.notify_all()

    async def stored(self, source_id: str) -> None:
        """Wait until all pieces of a source that were put here are stored."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._unstored[source_id])
            del self._unstored[source_id]

    async def run(self) -> None:
        """Embed and store what is put here. Raises what `embed` and `keep` raise."""
        storing: asyncio.Task[None] | None = None
        try:
            while True:
                batch = await self._next_while(storing)
                embedded = await self._embed([window for one in batch for window in one.windows])
                if storing is not None:
                    await storing
                storing = asyncio.create_task(self._store(batch, embedded))
        finally:
            if storing is not None:
                storing.cancel()
                await asyncio.gather(storing, return_exceptions=True)

    async def _next_while(self, storing: asyncio.Task[None] | None) -> list[Piece]:
        """As `_next`. Raises what storing the batch before raised: those who wait for it put no further piece."""
        coming = asyncio.create_task(self._next())
        try:
            if storing is not None:
                await asyncio.wait((coming, storing), return_when=asyncio.FIRST_COMPLETED)
                if storing.done():
                    await storing
            return await coming
        finally:
            coming.cancel()

    async def _next(self) -> list[Piece]:
        """The pieces of the next batch: as many as wait, up to a number of windows."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting)
            batch: list[Piece] = []
            size = 0
            while self._waiting and size < WINDOWS_AT_ONCE:
                batch.append(self._waiting.popleft())
                size += batch[-1].size
            self._windows -= size
            self._changed.notify_all()
        return batch

    async def _store(self, batch: Sequence[Piece], embedded: Embedded) -> None:
        # The words of the passages are found meanwhile; the thread of the event loop goes on with the chat.
        await self._keep(await asyncio.to_thread(_embedded, batch, embedded))
        async with self._changed:
            self._unstored.subtract(one.waiting.source_id for one in batch)
            self._changed.notify_all()


def _embedded(batch: Sequence[Piece], embedded: Embedded) -> list[EmbeddedPiece]:
    # What the batch cost is counted with its first piece.
    tokens, cost = embedded.tokens, embedded.cost
    found: list[EmbeddedPiece] = []
    at = 0
    for one in batch:
        passages = new_passages(one, embedded.vectors[at : at + one.size])
        found.append(EmbeddedPiece(one, passages, tokens, cost))
        at += one.size
        tokens, cost = 0, None if cost is None else cost * 0
    return found
