"""The page of benchmarks reports budgets as they were measured."""

import pytest

from benchmarks.budgets import Budget
from benchmarks.measure import BARE, BURST, BURST_INDEXED, FLOOR, OURS, SEARCH, SEARCH_CJK, Size
from benchmarks.report import budgets_table
from benchmarks.sections import Judged, Section
from benchmarks.timing import Result


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ({20: 1.0, 100_000: 2.0}, "met"),
        ({20: 2.5, 1000: 2.1, 100_000: 2.0}, "met, not at 20 nor 1,000"),
        ({20: 1.0, 100_000: 2.1}, "**not met**"),
        ({20: 1.0, 1000: 1.5}, "met at 1,000"),
        ({}, "not measured"),
    ],
)
def test_a_budget_is_judged_at_the_size_for_which_it_is_promised(ratios: dict[int, float], verdict: str) -> None:
    assert Budget(2.0, "floor", 100_000).verdict(ratios) == verdict


def test_a_rate_has_a_least() -> None:
    budget = Budget(0.8, "floor", 100_000, is_least=True)
    assert [budget.holds(ratio) for ratio in (0.79, 0.8, 2)] == [False, True, True]


def test_what_the_floor_cannot_do_alike_is_held_to_what_it_can() -> None:
    size = Size(20)
    size.results[SEARCH] = {FLOOR: Result(2, 1), OURS: Result(9, 1)}
    size.results[SEARCH_CJK] = {OURS: Result(6, 1)}
    size.results[BURST] = {FLOOR: Result(1000, 1), OURS: Result(900, 1)}
    size.results[BURST_INDEXED] = {FLOOR: Result(300, 1), BARE: Result(1000, 1), OURS: Result(900, 1)}
    assert size.ratio(SEARCH_CJK, OURS) == 3
    assert size.ratio(BURST_INDEXED, OURS) == 0.9


def test_a_quick_wrong_answer_meets_no_budget() -> None:
    size = Size(100_000)
    size.results[SEARCH] = {FLOOR: Result(2, 1), OURS: Result(1, 1, "not found")}
    rows = budgets_table([size], [Section("x", (), (Judged("memory", "+0 MB", "+0.1 MB", met=True),))])
    (row,) = [row for row in rows if row.startswith(f"| {SEARCH} ")]
    assert row.endswith("| 0.50 | **not met** (not found) |")
    assert rows[-1] == "| memory | +0 MB | +0.1 MB | met |"
