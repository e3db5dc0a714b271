"""Documents of all sources share batches, and storing one batch does not hold up the next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pytest

from datalayer.records.knowledge import NewDocument
from tests.support.patience import PATIENCE_SECONDS
from threadkeeper.knowledge.batches import Batches
from threadkeeper.knowledge.chunks import Chunk
from threadkeeper.knowledge.embedding.base import Embedded
from threadkeeper.knowledge.loaders.base import LoadedDocument
from threadkeeper.knowledge.preparing import WaitingDocument


def waiting(source: str, text: str, windows: int = 1) -> WaitingDocument:
    parts = tuple((0, len(text)) for _ in range(windows))
    return WaitingDocument(source, LoadedDocument(text, text), text, text, (Chunk(0, len(text), 1, parts),))


class Recorded:
    """A model and a store that note what they get; `keep` waits until it may go on."""

    def __init__(self) -> None:
        self.embedded: list[list[str]] = []
        self.kept: list[list[NewDocument]] = []
        self.may_keep = asyncio.Event()

    async def embed(self, texts: Sequence[str]) -> Embedded:
        self.embedded.append(list(texts))
        return Embedded(np.full((len(texts), 2), len(self.embedded), np.float32), 10, Decimal("0.5"))

    async def keep(self, added: Sequence[NewDocument]) -> None:
        await self.may_keep.wait()
        self.kept.append(list(added))


async def test_documents_of_several_sources_are_embedded_together_and_the_next_batch_while_one_is_stored() -> None:
    recorded = Recorded()
    batches = Batches(recorded.embed, recorded.keep)
    for at in range(70):
        await batches.put(waiting("one" if at % 2 else "two", f"text {at}"))
    running = asyncio.create_task(batches.run())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(recorded.embedded) < 2:
            await asyncio.sleep(0)
        assert [len(texts) for texts in recorded.embedded] == [64, 6]
        assert not recorded.kept
        stored = asyncio.create_task(batches.stored("one"))
        await asyncio.sleep(0.01)
        assert not stored.done()
        recorded.may_keep.set()
        await stored
        await batches.stored("two")
    assert [len(added) for added in recorded.kept] == [64, 6]
    billed = [(one.tokens, one.cost) for one in recorded.kept[0]]
    assert billed[0] == (10, Decimal("0.5"))
    assert set(billed[1:]) == {(0, Decimal(0))}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_puts_documents_waits_while_many_windows_wait() -> None:
    recorded = Recorded()
    batches = Batches(recorded.embed, recorded.keep)
    await batches.put(waiting("one", "large", windows=500))
    late = asyncio.create_task(batches.put(waiting("one", "late")))
    await asyncio.sleep(0.01)
    assert not late.done()
    running = asyncio.create_task(batches.run())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await late
        recorded.may_keep.set()
        await batches.stored("one")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_store_that_fails_ends_the_run() -> None:
    async def keep(_added: Sequence[NewDocument]) -> None:
        raise OSError("full")

    batches = Batches(Recorded().embed, keep)
    running = asyncio.create_task(batches.run())
    with pytest.raises(OSError, match="full"):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not running.done():
                await batches.put(waiting("one", "text"))
                await asyncio.sleep(0)
            await running
