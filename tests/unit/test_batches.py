"""Documents of all sources share batches, and storing one batch does not hold up the next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pytest

from tests.support.patience import PATIENCE_SECONDS
from threadkeeper.knowledge.batches import Batches
from threadkeeper.knowledge.chunks import Chunk
from threadkeeper.knowledge.embedding.base import Embedded
from threadkeeper.knowledge.loaders.base import LoadedDocument
from threadkeeper.knowledge.preparing import EmbeddedPiece, Piece, WaitingDocument, pieces_of


def waiting(source: str, text: str, windows: int = 1) -> Piece:
    parts = tuple((0, len(text)) for _ in range(windows))
    document = WaitingDocument(source, LoadedDocument(text, text), text, text, (Chunk(0, len(text), 1, parts),))
    return Piece(document, 0, 1)


class Recorded:
    """A model and a store that note what they get; `keep` waits until it may go on."""

    def __init__(self) -> None:
        self.embedded: list[list[str]] = []
        self.kept: list[list[EmbeddedPiece]] = []
        self.may_keep = asyncio.Event()

    async def embed(self, texts: Sequence[str]) -> Embedded:
        self.embedded.append(list(texts))
        return Embedded(np.full((len(texts), 2), len(self.embedded), np.float32), 10, Decimal("0.5"))

    async def keep(self, added: Sequence[EmbeddedPiece]) -> None:
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


def test_a_large_document_is_cut_into_pieces_of_bounded_size_from_where_it_was_cut_off() -> None:
    chunks = tuple(Chunk(at, at + 1, 1, ((at, at + 1),) * windows) for at, windows in enumerate((3, 3, 3, 9, 1, 1, 5)))
    document = WaitingDocument("one", LoadedDocument("a" * 7), "title", "print", chunks)
    pieces = list(pieces_of(document, 7, 1, "its id"))
    assert [(one.first, one.end, one.size) for one in pieces] == [(1, 3, 6), (3, 4, 9), (4, 7, 7)]
    assert {one.document_id for one in pieces} == {"its id"}
    assert len(pieces[2].windows) == 7
    assert list(pieces_of(document, 7, 7, "its id")) == []


async def test_a_store_that_fails_ends_the_run() -> None:
    async def keep(_added: Sequence[EmbeddedPiece]) -> None:
        raise OSError("full")

    batches = Batches(Recorded().embed, keep)

    async def put() -> None:
        while True:
            await batches.put(waiting("one", "text"))

    putting = asyncio.create_task(put())
    with pytest.raises(OSError, match="full"):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await batches.run()
    putting.cancel()
    await asyncio.gather(putting, return_exceptions=True)


async def test_a_store_that_fails_for_the_last_documents_ends_the_run() -> None:
    async def keep(_added: Sequence[EmbeddedPiece]) -> None:
        raise OSError("full")

    batches = Batches(Recorded().embed, keep)
    await batches.put(waiting("one", "text"))
    with pytest.raises(OSError, match="full"):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await batches.run()
