"""The measurements of the usage statistics, as numbers and as a section of `docs/benchmarks.md`."""

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
"""Maximum ratio of our time to that of bare SQL, for a month by day."""
MOST_MS = 1_600.0
"""The fastest time that Prompt Sail reports for its statistics, over a thousand transactions."""
_TITLE = "## Usage of models"


@dataclass
class Found:
    """The measurements on one engine: medians in ms, by operation and contender."""

    server: str
    calls: int
    results: dict[str, dict[str, Result]] = field(default_factory=dict)
    cpu_ms: float = 0.0
    """CPU time of a month by day in our layer; with a database server, the CPU time of that server."""

    @property
    def name(self) -> str:
        """The server with its version, without the packager's suffix."""
        return self.server.split(" (", maxsplit=1)[0]

    def ratio(self, operation: str) -> float:
        """The ratio of our time to that of bare SQL."""
        return self.results[operation][OURS].value / self.results[operation][FLOOR].value

    @property
    def wrong(self) -> dict[tuple[str, str], str]:
        """The answers that differ from those of bare SQL."""
        return {(what, who): one.wrong for what, both in self.results.items() for who, one in both.items() if one.wrong}


def lines(found: Sequence[Found], *, begun: tuple[float, float, float]) -> list[str]:
    """The section with its title. The budgets apply to the first engine in `found`."""
    rows = [
        _TITLE,
        "",
        f"Written by `python -m benchmarks.usage`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, Python",
        f"{platform.python_version()}, sqlalchemy {version('sqlalchemy')}, asyncpg {version('asyncpg')}; load average",
        f"{begun[0]:.1f} before, {os.getloadavg()[0]:.1f} at the end, the benchmark included.",
        "",
        f"{found[0].calls:,} calls of {USERS} users, evenly over {DAYS} days, all in the month of the query. The bare",
        "SQL is one hand-written statement on the same tables and indexes. On Postgres it returns the same figures,",
        "including percentiles; on SQLite, which has no percentile aggregate, only the sums. Medians in ms (× bare);",
        "the answers are compared. Other work on the machine affects these times, but much less the CPU time of a",
        f"month by day: {', '.join(f'{one.cpu_ms:,.0f} ms on {one.name}' for one in found)}.",
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
        f"| {what} | {most} | {measured} | {'met' if met else '**not met**'} |" for what, most, measured, met in judged
    ]


def put(page: Path, section: Sequence[str]) -> None:
    """Write the section at the end of the page, and remove its previous version."""
    put_section(page, _TITLE, section)


def _cell(found: Found, operation: str, who: str) -> str:
    result = found.results[operation][who]
    value = f"{result.value:,.0f}" if result.value >= 100 else f"{result.value:.1f}"
    ratio = f" ({found.ratio(operation):.2f})" if who == OURS else ""
    return value + ratio + (f" [{result.wrong}]" if result.wrong else "")
