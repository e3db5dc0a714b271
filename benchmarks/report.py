"""Writes `docs/benchmarks.md` and its plot from the measurements."""

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.budgets import BUDGETS
from benchmarks.chat_report import parts_of
from benchmarks.measure import CREATE, FIFTH_PAGE, FIRST_PAGE, FLAT, GET, OURS, PER_SECOND, SEARCH, VOTED, Size
from benchmarks.sections import TITLES, Section
from benchmarks.timing import SECONDS_EACH, Result

# The introduction, what dominates, and the sizes of an earlier run.
_IS_OURS = re.compile(r"# |(?!## )|## [0-9,]+ threads$|## What dominates").match
PLOTTED = (CREATE, FIRST_PAGE, FIFTH_PAGE, GET, VOTED, SEARCH)

_INTRODUCTION = f"""# Benchmarks

`make bench` writes the plot and the tables, but for those of DynamoDB, of partitions and of a history ten times as
long; each section names its module. `python -m benchmarks.run`, the longest, starts its own Postgres, creates
histories of up to 100,000 threads (1.1 million steps), and needs about twenty minutes and 10 GB of free disk. The
section on what dominates comes from a separate run with a profiler. The **floor** is hand-written asyncpg: one
prepared statement per operation and the right indexes, without ownership checks, queue, retries or cleaning
([`benchmarks/floor.py`](../benchmarks/floor.py)). Chainlit's two layers run on their own schemas. All contenders take
turns on one Postgres with `fsync` on, each in its own database with the same history: threads of 11 steps of 330
characters.

The milliseconds are medians from one machine that also did other work. **Read the ratios to the floor**, and not to
the second digit, because other jobs disturb single rows. A note in brackets says what was wrong with an answer; a fast
wrong answer does not count. Slow contenders are measured fewer times (×n is the number of measurements): each gets at
most {SECONDS_EACH:g} seconds per operation.
"""


def write(folder: Path, sizes: Sequence[Size], sections: Sequence[Section], server: str, dominates: str) -> None:
    """Write the page and the plot into this folder. Sections of other measurements stay, behind these."""
    page = folder / "benchmarks.md"
    lines = [_INTRODUCTION, "![Time of each operation, on histories of different sizes](benchmarks.svg)", ""]
    lines += ["## Machine", "", *_machine(server), ""]
    lines += ["## Budgets", "", *budgets_table(sizes, sections), "", dominates.strip()]
    for section in sections:
        lines += ["", f"## {section.title}", "", *section.lines]
    for size in sizes:
        lines += ["", f"## {size.threads:,} threads", "", *_table(size)]
    own = {line for line in lines if line.startswith("## ")}
    others = [part for part in parts_of(page) if (title := part.split("\n", 1)[0]) not in own and not _IS_OURS(title)]
    page.write_text("\n\n".join(["\n".join(lines), *others, ""]).rstrip("\n") + "\n", encoding="utf-8")
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
    kinds = [kind for kind in TITLES if any(kind in found for found in size.results.values())]
    rows = ["| median ms (× floor) | " + " | ".join(TITLES[kind] for kind in kinds) + " |"]
    rows.append("| --- |" + " ---: |" * len(kinds))
    most = max(result.times for found in size.results.values() for result in found.values())
    for operation, found in size.results.items():
        if operation == FLAT:
            continue
        unit = ", writes/s" if operation in PER_SECOND else ""
        cells = [
            _cell(found[kind], size.ratio(operation, kind), 1 if unit else most) if kind in found else "–"
            for kind in kinds
        ]
        rows.append(f"| {operation}{unit} | " + " | ".join(cells) + " |")
    return rows


def _cell(result: Result, ratio: float | None, most: int) -> str:
    value = f"{result.value:,.0f}" if result.value >= 100 else f"{result.value:.2f}"
    ratio_text = f" ({ratio:,.2f})" if ratio is not None else ""
    fewer = f" ×{result.times}" if result.times < most / 2 else ""
    remark = result.wrong or result.note
    return value + ratio_text + fewer + (f" [{remark}]" if remark else "")


def budgets_table(sizes: Sequence[Size], sections: Sequence[Section]) -> list[str]:
    rows = ["Each budget, and the measurements of Threadkeeper's layer at each size of the history. The verdict is for"]
    rows += ["the size of the budget; it names other sizes that miss the budget.", ""]
    rows += ["| | budget | at | " + " | ".join(f"{size.threads:,} threads" for size in sizes) + " | |"]
    rows += ["| --- | ---: | ---: |" + " ---: |" * len(sizes) + " --- |"]
    for operation, budget in BUDGETS.items():
        found = {size.threads: ratio for size in sizes if (ratio := size.ratio(operation, OURS)) is not None}
        wrong = [size.results[operation][OURS].wrong for size in sizes if size.threads in found]
        # A fast wrong answer does not meet the budget.
        verdict = f"**not met** ({max(wrong)})" if any(wrong) else budget.verdict(found)
        cells = " | ".join(f"{found[size.threads]:.2f}" if size.threads in found else "–" for size in sizes)
        rows.append(f"| {operation} | {budget.promised} | {budget.threads:,} | {cells} | {verdict} |")
    rows += ["", "| | budget | measured | |", "| --- | ---: | ---: | --- |"]
    words = {True: "met", False: "**not met**", None: "–"}
    for section in sections:
        rows += [f"| {one.what} | {one.promised} | {one.found} | {words[one.met]} |" for one in section.judged]
    return rows


def _plot(path: Path, sizes: Sequence[Size]) -> None:
    import matplotlib as mpl  # noqa: PLC0415  needed for the plot only

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "threadkeeper"
    # A white background, because the page can be light or dark.
    figure, axes = plt.subplots(2, 3, figsize=(13, 7), sharex=True, facecolor="white")
    for axis, operation in zip(axes.flat, PLOTTED, strict=True):
        for number, (kind, title) in enumerate(TITLES.items()):
            points = [
                (size.threads, size.results[operation][kind])
                for size in sizes
                if kind in size.results.get(operation, {})
            ]
            line = {"color": f"C{number}", "linestyle": "--" if kind == "floor" else "-"}
            axis.plot([at for at, _ in points], [result.value for _, result in points], label=title, **line)
            for at, result in points:
                fill = "white" if result.wrong else f"C{number}"
                axis.plot(at, result.value, marker="o", color=f"C{number}", markerfacecolor=fill)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_title(operation)
        axis.set_ylabel("median ms")
        axis.grid(visible=True, alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("threads of one user (hollow: a wrong answer)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=4)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, metadata={"Date": None})
