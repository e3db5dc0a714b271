"""What the soak found: what grew, what was lost, which errors belong to no fault; its page and its plot."""

from __future__ import annotations

import json
import statistics
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from benchmarks.soak_faults import Happened
from benchmarks.soak_people import Asked

TITLE = "## Soak"
_ABOUT = (
    "`python -m benchmarks.soak` starts two replicas behind haproxy on one Postgres, with files in S3. A hundred "
    "people ask for two hours, and once a minute something fails: a replica is killed and started again, the "
    "database is restarted, the model server is away, refuses (429) or is slow, the network is cut, the store of "
    "files is away. It passes if at the end each acknowledged question, answer and file is there once, the logs "
    "have no error that belongs to no fault, each question that is far from a fault was answered, and memory, "
    "file handles, connections and queue of the replica that is never killed are flat after the first quarter of "
    "the time. It writes this section and its plot."
)
_WIDTH = 140
WARM_UP = 0.25
"""The part of the time in which caches fill."""
_MOST_MEMORY_GROWTH = 0.10
_MOST_HANDLE_GROWTH = 0.25
_FEW_HANDLES = 20
_LEAST_JUDGED_SECONDS = 1_200
_AFTER_SECONDS = 45.0
"""How long after a fault its errors can be logged: retries and time-outs are this long at most."""
_FELT_SECONDS = 20.0
"""How long after a fault a question may end without an answer."""


@dataclass
class Sample:
    """One look at a replica. `seconds` since the begin; None while it is away."""

    seconds: float
    megabytes: float | None = None
    handles: int | None = None
    queued: float | None = None
    pages: float | None = None


@dataclass
class Soak:
    """What was seen in one run. `samples` are by replica; `kept` is the replica that is never killed."""

    minutes: float
    people: int
    begun: float
    kept: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    connections: list[tuple[float, int]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)
    lines: list[dict[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """What ended the program of a person: a defect of the soak."""
    most_connections: int = 0

    @property
    def answered(self) -> int:
        return sum(one.end == "answered" for one in self.asked)

    def is_settled(self, ended: float) -> bool:
        """Whether the last sample of each replica was made after this, in seconds since the begin, and has no writes
        in the queue."""
        last = [samples[-1] for samples in self.samples.values() if samples]
        return bool(last) and all(one.seconds > ended and one.queued == 0 for one in last)

    def unexpected_lines(self) -> list[str]:
        """The errors in the logs that belong to no fault."""
        return [f"{line['time']} {line['logger']}: {line['message']}" for line in self.lines if not self._belongs(line)]

    def _belongs(self, line: dict[str, str]) -> bool:
        at = datetime.fromisoformat(line["time"]).timestamp()
        words = f"{line['logger']} {line['message']} {line.get('error', '')}"
        return any(
            one.begun <= at <= one.ended + _AFTER_SECONDS and one.fault.expected.search(words) for one in self.happened
        )

    def unexpected_ends(self) -> list[str]:
        """The questions that got no answer although no fault was near."""
        return [
            f"{one.marker}: {one.end} {one.said[:200]}"
            for one in self.asked
            if one.end != "answered" and one.ended and not self._is_near(one)
        ]

    def _is_near(self, asked: Asked) -> bool:
        return any(one.begun - 1 <= asked.ended and asked.begun <= one.ended + _FELT_SECONDS for one in self.happened)

    def growth(self, value: Callable[[Sample], float | None]) -> tuple[float, float]:
        """The medians of the first and of the last quarter after the warm-up, of the replica that is never killed."""
        after = WARM_UP * self.minutes * 60
        found = [
            number for one in self.samples[self.kept] if one.seconds > after and (number := value(one)) is not None
        ]
        part = max(len(found) // 4, 1)
        return (statistics.median(found[:part]), statistics.median(found[-part:])) if found else (0.0, 0.0)

    def problems(self) -> list[str]:
        """What is wrong, in words; empty if the soak has passed."""
        found = [f"lost: {one}" for one in self.missing]
        found += [f"a person stopped asking, which is a defect of the soak: {one}" for one in self.broken]
        found += [f"an error of no fault: {line}" for line in self.unexpected_lines()]
        found += [f"no answer, and no fault: {one}" for one in self.unexpected_ends()]
        for name, samples in self.samples.items():
            if (last := next((one.queued for one in reversed(samples) if one.queued is not None), None)) != 0:
                found.append(f"{name} has {last} queued writes at the end")
        before, after = self.growth(lambda one: one.handles)
        if after > before * (1 + _MOST_HANDLE_GROWTH) + _FEW_HANDLES:
            found.append(f"file handles grow: from {before:.0f} to {after:.0f}")
        most = max((number for _, number in self.connections), default=0)
        if most > self.most_connections:
            found.append(f"{most} connections to the database; {self.most_connections} are allowed")
        before, after = self.growth(lambda one: one.megabytes)
        # A short run is warm-up alone.
        if self.minutes * 60 >= _LEAST_JUDGED_SECONDS and after > before * (1 + _MOST_MEMORY_GROWTH):
            found.append(f"memory grows: from {before:.0f} to {after:.0f} MB")
        if not self.answered:
            found.append("nobody got an answer")
        return found


def section(soak: Soak, plot: Path) -> list[str]:
    """The section for the page."""
    first, last = soak.growth(lambda one: one.megabytes)
    handles = soak.growth(lambda one: one.handles)
    queue = max((one.queued or 0 for samples in soak.samples.values() for one in samples), default=0)
    ends = {end: sum(one.end == end for one in soak.asked) for end in ("answered", "refused", "lost")}
    kinds = ", ".join(
        f"{name} {sum(one.fault.name == name for one in soak.happened)}×"
        for name in dict.fromkeys(one.fault.name for one in soak.happened)
    )
    problems = soak.problems()
    return [
        TITLE,
        "",
        *textwrap.wrap(_ABOUT, _WIDTH),
        "",
        f"Measured with `python -m benchmarks.soak --minutes {soak.minutes:g} --people {soak.people}`.",
        f"Faults: {kinds}.",
        "",
        "| | measured |",
        "| --- | ---: |",
        f"| questions: answered, refused in words, without an end at the page | {ends['answered']:,}, "
        f"{ends['refused']:,}, {ends['lost']:,} |",
        f"| acknowledged questions, answers and files that are missing or doubled | {len(soak.missing)} |",
        f"| errors in the logs that belong to no fault | {len(soak.unexpected_lines())} of {len(soak.lines)} |",
        f"| memory of the replica that is never killed: after the warm-up, at the end | {first:.0f}, {last:.0f} MB |",
        f"| its file handles: after the warm-up, at the end | {handles[0]:.0f}, {handles[1]:.0f} |",
        f"| connections to the database, most | {max((number for _, number in soak.connections), default=0)} |",
        f"| queued writes, most | {queue:.0f} |",
        "",
        f"{'Passed.' if not problems else '**Not passed:** ' + '; '.join(problems[:5])}",
        "",
        f"![Memory, handles, queue and answers over time]({plot.name})",
    ]


def error_lines(log: str) -> list[dict[str, str]]:
    """The errors of a log of JSON lines; what is no JSON is an error, too, as a traceback of the interpreter."""
    found = []
    for text in log.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and line.get("level") in ("ERROR", "CRITICAL"):
            found.append({name: str(value) for name, value in line.items()})
    return found


def draw(soak: Soak, path: Path) -> None:
    """Draw the plot as SVG, with a point a minute at most."""
    import matplotlib as mpl  # noqa: PLC0415  needed for the plot only

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "threadkeeper"
    figure, axes = plt.subplots(4, 1, figsize=(11, 9), sharex=True, facecolor="white")
    kinds: list[tuple[str, Callable[[Sample], float | None]]] = [
        ("memory, MB", lambda one: one.megabytes),
        ("file handles", lambda one: one.handles),
        ("queued writes", lambda one: one.queued),
    ]
    for axis, (title, value) in zip(axes, kinds, strict=False):
        for number, (name, samples) in enumerate(sorted(soak.samples.items())):
            points = _a_minute([(one.seconds, value(one)) for one in samples])
            axis.plot([at for at, _ in points], [found for _, found in points], label=name, color=f"C{number}")
        axis.set_ylabel(title)
        axis.set_ylim(bottom=0)
    answers = [(one.ended - soak.begun) // 60 for one in soak.asked if one.end == "answered"]
    minutes = sorted(set(answers))
    axes[3].plot(minutes, [answers.count(minute) for minute in minutes], label="answers a minute", color="C2")
    points = _a_minute(soak.connections)
    axes[3].plot([at for at, _ in points], [found for _, found in points], label="database connections", color="C3")
    axes[3].set_ylim(bottom=0)
    axes[3].set_xlabel("minutes (grey: a fault)")
    for axis in axes:
        for one in soak.happened:
            axis.axvspan((one.begun - soak.begun) / 60, (one.ended - soak.begun) / 60, color="0.85", zorder=0)
        axis.grid(visible=True, alpha=0.3)
    axes[0].legend(loc="lower right")
    axes[3].legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _a_minute(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float]]:
    """The largest value of each minute; of each twentieth of it, if there are few."""
    known = [(at, value) for at, value in points if value is not None]
    width = 60.0 if known and known[-1][0] > 3_600 else 3.0
    largest: dict[int, float] = {}
    for at, value in known:
        largest[int(at // width)] = max(value, largest.get(int(at // width), value))
    return [(place * width / 60, value) for place, value in sorted(largest.items())]
