"""What scores are compared with in a training: how rare words are, and everyday questions. Stored as one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from threadkeeper.knowledge.retrieval.everyday import Everyday
from threadkeeper.knowledge.retrieval.words import WordCounts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Background:
    """Args:
    words: how many passages contain each.
    everyday: None in trainings from before they had it; their thresholds are for scores without an allowance.
    """

    words: WordCounts = field(default_factory=WordCounts)
    everyday: Everyday | None = None

    def allowance(self, question: NDArray[np.float32]) -> float:
        """What is added to the scores of all passages for a question."""
        return 0.0 if self.everyday is None else self.everyday.allowance(question)

    def packed(self) -> bytes:
        """As it is stored with a training."""
        return self.words.packed() + (b"" if self.everyday is None else self.everyday.packed())

    @classmethod
    def unpacked(cls, stored: bytes, dimensions: int) -> Background:
        words, rest = WordCounts.unpacked(stored)
        return cls(words, Everyday.unpacked(rest, dimensions) if rest else None)
