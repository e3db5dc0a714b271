"""What was measured of the statistics of calls, as numbers and as a section of `docs/benchmarks.md`."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.chat_report import put_section
from benchmarks.timing import Result
from benchmarks.usage_data import DAYS, USERS

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
FLOOR, OURS = "bare SQL", "Threadkeeper"
BY_DAY, OWN, TOTALS = "a month by day", "one user's month by day", "totals of a month"
BY_MODEL, BY_USER = "by model", "by user"
LIST, FAR, DEAREST = "list, newest first", "list, from the middle of the month", "list, dearest first"
WRITE = "record a call"
MOST_TIMES = 2.0
"""Ours to bare SQL, for a month by day."""
MOST_MS = 1_600.0
"""The least that Prompt Sail tells of its statistics, over a thousand transactions."""
_TITLE = "## Usage of models"


@dataclass
class Found:
    """What was measured on one engine: medians in ms, by operation and by who did it."""

    server: str
    calls: int
    results: dict[str, dict[str, Result]] = field(default_factory=dict)
    cpu_ms: float = 0.0
    """What a month by day takes of ours, of the server where there is one."""

    @property
    def name(self) -> str:
        """The server with its version, without what its packager adds."""
        return self.server.split(" (", maxsplit=1)[0]

    def ratio(self, operation: str) -> float:
        """How many times the bare SQL's time ours took."""
        return self.results[operation][OURS].value / self.results[operation][FLOOR].value

    @property
    def wrong(self) -> dict[tuple[str, str], str]:
        """The answers that were not those of the bare SQL."""
        return {(what, who): one.wrong for what, both in self.results.items() for who, one in both.items() if one.wrong}


def lines(found: Sequence[Found], *, begun: tuple[float, float, float]) -> list[str]:
    """The section, with its title; the first of those found is what the budgets are for."""
    rows = [
        _TITLE,
        "",
        f"Written by `python -m benchmarks.usage`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, Python",
        f"{platform.python_version()}, sqlalchemy {version('sqlalchemy')}, asyncpg {version('asyncpg')}; load average",
        f"{begun[0]:.1f} before, {os.getloadavg()[0]:.1f} at the end, the benchmark included.",
        "",
        f"{found[0].calls:,} calls of {USERS} users, evenly over {DAYS} days, all in the month that is asked for. The",
        "bare SQL is one statement by hand, on the same tables and indexes: on Postgres for the same figures,",
        "percentiles among them; on SQLite, which has no aggregate for those, for the sums alone. Medians in ms",
        "(× bare); answers are compared. They depend on what else the machine does; the CPU time of a month",
        f"by day does so much less: {', '.join(f'{one.cpu_ms:,.0f} ms on {one.name}' for one in found)}.",
        "",
        "| | " + " | ".join(f"{who}, {one.name}" for one in found for who in (FLOOR, OURS)) + " |",
        "| --- |" + " ---: |" * (2 * len(found)),
    ]
    for operation in found[0].results:
        cells = [_cell(one, operation, who) for one in found for who in (FLOOR, OURS)]
        rows.append(f"| {operation} | {' | '.join(cells)} |")
    first = found[0]
    judged = [
        (f"{BY_DAY}, × bare SQL", f"≤ {MOST_TIMES:g}", f"{first.ratio(BY_DAY):.2f}", first.ratio(BY_DAY) <= MOST_TIMES),
        (f"{BY_DAY}, ms of CPU", f"≤ {MOST_MS:,.0f}", f"{first.cpu_ms:,.0f}", first.cpu_ms <= MOST_MS),
    ]
    rows += ["", "| on Postgres | budget | measured | |", "| --- | ---: | ---: | --- |"]
    return rows + [
        f"| {what} | {most} | {told} | {'met' if met else '**not met**'} |" for what, most, told, met in judged
    ]


def put(page: Path, section: Sequence[str]) -> None:
    """Write the section at the end of the page, instead of the one that is there."""
    put_section(page, _TITLE, section)


def _cell(found: Found, operation: str, who: str) -> str:
    result = found.results[operation][who]
    value = f"{result.value:,.0f}" if result.value >= 100 else f"{result.value:.1f}"
    ratio = f" ({found.ratio(operation):.2f})" if who == OURS else ""
    return value + ratio + (f" [{result.wrong}]" if result.wrong else "")
