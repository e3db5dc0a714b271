"""The page of benchmarks reports the measured budgets correctly."""

from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.budgets import Budget
from benchmarks.chat_report import put_section
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
def test_a_budget_is_judged_at_its_own_size(ratios: dict[int, float], verdict: str) -> None:
    assert Budget(2.0, "floor", 100_000).verdict(ratios) == verdict


def test_a_budget_for_a_rate_is_a_minimum() -> None:
    budget = Budget(0.8, "floor", 100_000, is_least=True)
    assert [budget.holds(ratio) for ratio in (0.79, 0.8, 2)] == [False, True, True]


def test_a_measurement_without_a_floor_is_compared_with_the_nearest_one() -> None:
    size = Size(20)
    size.results[SEARCH] = {FLOOR: Result(2, 1), OURS: Result(9, 1)}
    size.results[SEARCH_CJK] = {OURS: Result(6, 1)}
    size.results[BURST] = {FLOOR: Result(1000, 1), OURS: Result(900, 1)}
    size.results[BURST_INDEXED] = {FLOOR: Result(300, 1), BARE: Result(1000, 1), OURS: Result(900, 1)}
    assert size.ratio(SEARCH_CJK, OURS) == 3
    assert size.ratio(BURST_INDEXED, OURS) == 0.9


def test_a_fast_wrong_answer_does_not_meet_a_budget() -> None:
    size = Size(100_000)
    size.results[SEARCH] = {FLOOR: Result(2, 1), OURS: Result(1, 1, "not found")}
    rows = budgets_table([size], [Section("x", (), (Judged("memory", "+0 MB", "+0.1 MB", met=True),))])
    (row,) = [row for row in rows if row.startswith(f"| {SEARCH} ")]
    assert row.endswith("| 0.50 | **not met** (not found) |")
    assert rows[-1] == "| memory | +0 MB | +0.1 MB | met |"


def test_a_section_stays_where_it_stands_and_a_new_one_goes_to_the_end(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n## One\n\nold\n\n## One more\n\nkept\n")
    put_section(page, "## One", ["## One", "", "new"])
    put_section(page, "## Two", ["## Two", "", "added"])
    assert page.read_text() == "# Page\n\n## One\n\nnew\n\n## One more\n\nkept\n\n## Two\n\nadded\n"


def test_the_tables_keep_the_sections_of_other_measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_plot", lambda *_: None)
    page = tmp_path / "benchmarks.md"
    page.write_text("# Old\n\n## Machine\n\nold\n\n## 7 threads\n\nold\n\n## Review\n\nkept\n\n## Knowledge\n\nkept\n")
    report.write(tmp_path, [], [], "a server", "## What dominates where a budget is not met\n\nmuch")
    text = page.read_text()
    assert text.endswith("much\n\n## Review\n\nkept\n\n## Knowledge\n\nkept\n")
    assert "old" not in text.lower().replace("threshold", "")
