"""The words of passages as hashes, and how many passages contain each: what the words of a question are worth."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from datalayer.history.search_tokens import tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SLOTS = 1 << 18


def word_hash(word: str) -> int:
    """The hash of a search token: 32 bits."""
    return zlib.crc32(word.encode())


def hashes_of(text: str) -> bytes:
    """The hashes of the search tokens of a text, sorted, as they are stored."""
    return np.unique(np.fromiter(map(word_hash, tokens(text)), np.uint32)).astype("<u4").tobytes()


class WordCounts:
    """How many passages contain each word. Words share 2^18 counters, so a count may be a little too high."""

    def __init__(self, counts: NDArray[np.uint32] | None = None, passages: int = 0) -> None:
        self._counts = np.zeros(_SLOTS, np.uint32) if counts is None else counts
        self.passages = passages

    def add(self, hashes: Iterable[bytes]) -> None:
        """Count the words of passages."""
        for one in hashes:
            self.passages += 1
            slots = np.frombuffer(one, "<u4") % _SLOTS
            self._counts[np.unique(slots)] += 1

    def count(self, hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The number of passages with each word."""
        return self._counts[hashes % _SLOTS]

    def weights(self, hashes: NDArray[np.uint32]) -> NDArray[np.float64]:
        """What each word is worth: its inverse frequency in passages (idf)."""
        return np.log1p(self.passages / (self.count(hashes) + 0.5))

    def packed(self) -> bytes:
        """As it is stored with a training."""
        return self.passages.to_bytes(8, "little") + zlib.compress(self._counts.astype("<u4").tobytes(), 1)

    @classmethod
    def unpacked(cls, stored: bytes) -> tuple[WordCounts, bytes]:
        """The counts, and what is stored behind them."""
        stream = zlib.decompressobj()
        counts = np.frombuffer(stream.decompress(stored[8:]), "<u4")
        return cls(counts.astype(np.uint32), int.from_bytes(stored[:8], "little")), stream.unused_data
