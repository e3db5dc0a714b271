"""A search of vectors by the signs of their numbers, and an exact comparison of the best.

A vector takes one bit for each dimension in memory. The mean of all vectors is subtracted first, because the signs of
vectors that lie on one side of the origin say little. The exact vectors are in a file, of which only the candidates are
read: 100,000 vectors of 512 dimensions take 7 MB of memory and 100 MB of the disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CANDIDATES = 400
# Vectors that are in memory as float32 at the same time.
_PIECE = 1_000


class SignIndex:
    """The vectors of one training. Build it with `add` for each page and `finish`."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="threadkeeper-vectors-")  # noqa: SIM115  closed in finish
        self._ids: list[NDArray[np.int64]] = []
        self._sum = np.zeros(dimensions, np.float64)
        self._count = 0
        self._bits: NDArray[np.uint64] = np.zeros((0, 0), np.uint64)
        self.ids: NDArray[np.int64] = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return self._count

    @property
    def memory(self) -> int:
        """Bytes in memory."""
        return self._bits.nbytes + self.ids.nbytes

    def add(self, ids: Sequence[int], vectors: bytes) -> None:
        """Add vectors (float16, little-endian, one behind the other) of passages with these ids."""
        self._file.write(vectors)
        self._ids.append(np.asarray(ids, np.int64))
        self._count += len(ids)
        self._sum += np.frombuffer(vectors, "<f2").reshape(len(ids), self.dimensions).sum(axis=0, dtype=np.float64)

    def finish(self) -> None:
        """Compute the signs, once all vectors are there."""
        self.ids = np.concatenate(self._ids) if self._ids else self.ids
        self._ids.clear()
        self._file.flush()
        self._mean = (self._sum / max(self._count, 1)).astype(np.float32)
        words = -(-self.dimensions // 64)
        self._bits = np.zeros((self._count, words), np.uint64)
        if self._count:
            # The map needs the file no longer, and its space is free again with the map.
            self._vectors = np.memmap(self._file, "<f2", "r", shape=(self._count, self.dimensions))
        self._file.close()
        for start in range(0, self._count, _PIECE):
            self._bits[start : start + _PIECE] = self._signs(self._vectors[start : start + _PIECE].astype(np.float32))

    def _signs(self, vectors: NDArray[np.float32]) -> NDArray[np.uint64]:
        packed = np.packbits(vectors > self._mean, axis=1)
        padded = np.zeros((len(vectors), self._bits.shape[1] * 8), np.uint8)
        padded[:, : packed.shape[1]] = packed
        return padded.view(np.uint64)

    def nearest(self, vector: NDArray[np.float32], candidates: int = CANDIDATES) -> list[tuple[int, float]]:
        """The ids of the passages of the nearest vectors with their cosines, nearest first.

        A passage with several near vectors is there several times.
        """
        if not self._count:
            return []
        at = self._candidates(vector, candidates)
        cosines = self._vectors[at].astype(np.float32) @ vector
        order = np.argsort(-cosines)
        return list(zip(self.ids[at[order]].tolist(), cosines[order].tolist(), strict=True))

    def _candidates(self, vector: NDArray[np.float32], candidates: int) -> NDArray[np.intp]:
        if self._count <= candidates:
            return np.arange(self._count)
        signs = self._signs(vector[None])[0]
        distances = np.zeros(self._count, np.uint16)
        # One column after another needs an eighth of the memory of all at once.
        for column, sign in enumerate(signs):
            distances += np.bitwise_count(self._bits[:, column] ^ sign)
        return np.sort(np.argpartition(distances, candidates)[:candidates])

    def vectors(self, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The vectors of each of these passages, a row for each part; those that are not here are missing."""
        # The vectors of a passage stand together, in the order of the ids.
        wanted = np.asarray(ids, np.int64)
        begins, ends = np.searchsorted(self.ids, wanted, "left"), np.searchsorted(self.ids, wanted, "right")
        return {
            passage: self._vectors[begin:end].astype(np.float32)
            for passage, begin, end in zip(ids, begins.tolist(), ends.tolist(), strict=True)
            if begin < end
        }
