"""The budgets that are ratios, each with the size of the history to which it applies."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.measure import (
    BURST,
    BURST_INDEXED,
    CREATE,
    CREATE_FAR,
    FIFTH_PAGE,
    FIRST_PAGE,
    FLAT,
    GET,
    SEARCH,
    SEARCH_CJK,
    UPDATE,
    VOTED,
)

MANY, MOST = 10_000, 100_000


@dataclass(frozen=True)
class Budget:
    ratio: float
    beside: str
    """The baseline of the ratio."""
    threads: int
    """The size to which the budget applies. Every size is reported."""
    is_least: bool = False

    @property
    def promised(self) -> str:
        return f"{'≥' if self.is_least else '≤'} {self.ratio:g} × {self.beside}"

    def holds(self, ratio: float) -> bool:
        return ratio >= self.ratio if self.is_least else ratio <= self.ratio

    def verdict(self, ratios: Mapping[int, float]) -> str:
        """The verdict as text, from the ratio at each size.

        If the size of the budget was not measured, the next smaller size counts.
        """
        judged = [threads for threads in ratios if threads <= self.threads] or list(ratios)
        if not judged:
            return "not measured"
        if not self.holds(ratios[max(judged)]):
            return "**not met**"
        missed = [f"{threads:,}" for threads, ratio in ratios.items() if not self.holds(ratio)]
        size = "" if max(judged) == self.threads else f" at {max(judged):,}"
        return f"met{size}" + (f", not at {' nor '.join(missed)}" if missed else "")


BUDGETS = {
    CREATE: Budget(1.2, "floor", MOST),
    UPDATE: Budget(1.2, "floor", MOST),
    BURST: Budget(1.0, "floor", MOST, is_least=True),
    BURST_INDEXED: Budget(0.8, "floor without search", MOST, is_least=True),
    CREATE_FAR: Budget(1.1, "floor", MOST),
    FIRST_PAGE: Budget(2.0, "floor", MANY),
    FIFTH_PAGE: Budget(2.0, "floor", MOST),
    FLAT: Budget(1.3, "its own time at 20 threads", MOST),
    SEARCH: Budget(2.0, "floor", MOST),
    SEARCH_CJK: Budget(2.0, "floor's rare word", MOST),
    VOTED: Budget(2.0, "floor", MOST),
    GET: Budget(1.2, "floor", MOST),
}
