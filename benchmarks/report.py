"""Writes `docs/benchmarks.md` and its plot from what was measured, and nothing else."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import BURST, CREATE, CREATE_FAR, FIFTH_PAGE, FIRST_PAGE, GET, SEARCH, VOTED, Result, Size

TITLES = {
    "floor": "floor",
    "ours": "Threadkeeper",
    "sqlalchemy": "Chainlit's SQLAlchemy layer",
    "asyncpg": "Chainlit's asyncpg layer",
}
# The design's budgets as ratios to the floor; for BURST the least, for all others the most.
BUDGETS = {
    CREATE: 1.3,
    CREATE_FAR: 1.2,
    BURST: 1.0,
    FIRST_PAGE: 2.0,
    FIFTH_PAGE: 2.0,
    SEARCH: 2.0,
    VOTED: 2.0,
    GET: 1.2,
}

_INTRODUCTION = """# Benchmarks

The tables and the plot are written by `make bench` (`python -m benchmarks.run`); the last section is what a person
found with a profiler. The **floor** is hand-written asyncpg: one prepared statement for each operation and the right
indexes, without ownership, queue, retry or cleaning ([`benchmarks/floor.py`](../benchmarks/floor.py)). Chainlit's two
layers run on their own schemas. All take turns on one Postgres with `fsync` on, each in a database of its own with the
same history: threads of 11 steps of 330 characters.

The milliseconds are medians of one machine on which other work was running; **read the ratios to the floor**, and not
to the second digit: a job that wakes up beside one row moves it. A note in brackets says what was wrong with an
answer: a quick wrong answer is no achievement.
"""


def write(
    folder: Path, sizes: Sequence[Size], counts: Mapping[str, tuple[float, float]], server: str, dominates: str
) -> None:
    """Write the page and the plot into this folder."""
    lines = [_INTRODUCTION, "![Time of each operation, on histories of different sizes](benchmarks.svg)", ""]
    lines += ["## Machine", "", *_machine(server), ""]
    lines += ["## Statements for one `create_step`", "", "| | statements | round trips |", "| --- | ---: | ---: |"]
    lines += [f"| {TITLES[kind]} | {made:g} | {trips:g} |" for kind, (made, trips) in counts.items()]
    for size in sizes:
        lines += ["", f"## {size.threads:,} threads", "", *_table(size)]
    lines += ["", "## Budgets", "", *_budgets(sizes), "", dominates.strip(), ""]
    (folder / "benchmarks.md").write_text("\n".join(lines), encoding="utf-8")
    _plot(folder / "benchmarks.svg", sizes)


def _machine(server: str) -> list[str]:
    packages = ", ".join(f"{name} {version(name)}" for name in ("chainlit", "sqlalchemy", "asyncpg"))
    load = ", ".join(f"{part:.1f}" for part in os.getloadavg())
    machine = f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}), shared with other jobs"
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, {machine}: load average {load} at the end.",
        f"{server}, on loopback. Python {platform.python_version()}, {packages}.",
    ]


def _table(size: Size) -> list[str]:
    kinds = list(next(iter(size.results.values())))
    rows = ["| median ms (× floor) | " + " | ".join(TITLES[kind] for kind in kinds) + " |"]
    rows.append("| --- |" + " ---: |" * len(kinds))
    for operation, found in size.results.items():
        unit = ", writes/s" if operation == BURST else ""
        cells = [_cell(found[kind], size.ratio(operation, kind)) for kind in kinds]
        rows.append(f"| {operation}{unit} | " + " | ".join(cells) + " |")
    return rows


def _cell(result: Result, ratio: float | None) -> str:
    value = f"{result.value:,.0f}" if result.value >= 100 else f"{result.value:.2f}"
    note = f" [{result.wrong}]" if result.wrong else ""
    return f"{value} ({ratio:,.2f}){note}" if ratio is not None else f"{value}{note}"


def _budgets(sizes: Sequence[Size]) -> list[str]:
    rows = ["Ratios of our layer to the floor; a budget is met where every size meets it.", ""]
    rows += ["| | budget | " + " | ".join(f"{size.threads:,} threads" for size in sizes) + " | |"]
    rows += ["| --- | ---: |" + " ---: |" * len(sizes) + " --- |"]
    for operation, budget in BUDGETS.items():
        ratios = [size.ratio(operation, "ours") for size in sizes]
        least = operation == BURST
        met = all(ratio >= budget if least else ratio <= budget for ratio in ratios if ratio is not None)
        cells = " | ".join("–" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
        rows.append(
            f"| {operation} | {'≥' if least else '≤'} {budget:g} | {cells} | {'met' if met else '**not met**'} |"
        )
    return rows


def _plot(path: Path, sizes: Sequence[Size]) -> None:
    import matplotlib as mpl  # noqa: PLC0415  who only wants the numbers need not have it

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "threadkeeper"
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), sharex=True)
    for axis, operation in zip(axes.flat, (CREATE, FIRST_PAGE, GET, VOTED), strict=True):
        for kind, title in TITLES.items():
            points = [
                (size.threads, size.results[operation][kind].value) for size in sizes if operation in size.results
            ]
            axis.plot(*zip(*points, strict=True), marker="o", label=title, linestyle="--" if kind == "floor" else "-")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_title(operation)
        axis.set_ylabel("median ms")
        axis.grid(visible=True, alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("threads of one user")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=4)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, metadata={"Date": None})
