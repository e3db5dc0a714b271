"""The results of the chat under load, as numbers and as a section of `docs/benchmarks.md`."""

import os
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.chat_users import Heard
from benchmarks.token_server import ANSWER, TOKENS, TOKENS_A_SECOND

KINDS = BARE, OURS, EMBEDDED = "bare", "postgres", "sqlite"
TITLES = {
    BARE: "Chainlit, nothing stored",
    OURS: "Threadkeeper on Postgres, all stored",
    EMBEDDED: "Threadkeeper on SQLite, all stored",
}
NAMES = {OURS: "Postgres", EMBEDDED: "SQLite"}
QUESTIONS = FIRST, LATER = "first", "later"
MOST_SECONDS = 4.8
MOST_CPU_MS = {OURS: 18.0, EMBEDDED: 28.0}
_TITLE = "## Chat under load"


@dataclass
class Load:
    """The results of one server over all rounds, separately for first and later questions of a thread."""

    cpu: dict[str, dict[str, list[float]]] = field(default_factory=lambda: {question: {} for question in QUESTIONS})
    """CPU seconds per answer, by process, one value per round."""
    heard: dict[str, list[Heard]] = field(default_factory=lambda: {question: [] for question in QUESTIONS})
    stored: dict[str, int] = field(default_factory=dict)

    @property
    def asked(self) -> int:
        return sum(len(heard) for heard in self.heard.values())

    @property
    def incomplete(self) -> int:
        """The number of answers that did not reach their user completely."""
        return sum(one.text != ANSWER for heard in self.heard.values() for one in heard)

    @property
    def lost(self) -> int:
        """The number of questions, complete answers and runs that are missing or duplicated in the database."""
        return sum(abs(self.asked - count) for count in self.stored.values())

    def cpu_ms(self, question: str, process: str = "server") -> float:
        """CPU time per answer in ms, the median of the rounds."""
        return statistics.median(self.cpu[question].get(process, [0.0])) * 1000

    def packets(self, question: str) -> float:
        """The median number of packets that a user received for an answer."""
        return _percentile([one.messages for one in self.heard[question]], 50)

    def seconds(self, question: str, percent: int = 50) -> float:
        """Seconds from sending a question to the last word of its answer, at the user."""
        return _percentile([one.seconds for one in self.heard[question]], percent)

    def first_seconds(self, question: str) -> float:
        return _percentile([one.first_seconds for one in self.heard[question]], 50)


def lines(
    loads: Mapping[str, Load], *, users: int, rounds: int, begun: tuple[float, float, float] | None = None
) -> list[str]:
    """The section, with its title."""
    limit = (TOKENS - 1) / TOKENS_A_SECOND
    load = f"{begun[0]:.1f} before, {os.getloadavg()[0]:.1f} at the end, the benchmark included" if begun else "–"
    packages = ", ".join(f"{name} {version(name)}" for name in ("chainlit", "python-socketio", "uvicorn", "uvloop"))
    rows = [
        _TITLE,
        "",
        f"Written by `python -m benchmarks.chat_load`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, Python",
        f"{platform.python_version()}, {packages};",
        f"load average {load}.",
        "",
        f"{users} users ask at the same moment, and a scripted model streams {TOKENS} tokens to each,",
        f"{TOKENS_A_SECOND} a second: {limit:.2f} s from the first word to the last. Each server is one process,",
        "started with its usual command (`threadkeeper serve`; `chainlit run`), on Postgres with `fsync` on or on",
        "SQLite. Users, model and Postgres are processes on the same cores, so the seconds depend on the machine and",
        "its other work; the CPU time of the server depends on them much less. The table shows medians of the",
        f"answers, and of the CPU time of {rounds} rounds, in which the servers took turns. A first question creates",
        "a thread with a title; a later question reads its thread. The bare app does neither, stores nothing and",
        "has no logged-in users. Packets are those of an answer; if the machine is too busy for one every 40 ms,",
        "they are fewer and larger.",
        "",
        "| | question | server CPU, ms per answer | × bare | packets | answer, s | p95, s | first words, s |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind, one in loads.items():
        for question in QUESTIONS:
            ratio = f"{one.cpu_ms(question) / loads[BARE].cpu_ms(question):.2f}" if BARE in loads else "–"
            rows.append(
                f"| {TITLES[kind]} | {question} | {one.cpu_ms(question):.1f} | {ratio} "
                f"| {one.packets(question):.0f} | {one.seconds(question):.2f} "
                f"| {one.seconds(question, 95):.2f} | {one.first_seconds(question):.2f} |"
            )
    rows += ["", "The other processes, in ms of CPU per answer, and the results:", ""]
    rows += ["| | users | model | Postgres | asked | complete at the user | questions · answers · runs stored |"]
    rows += ["| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for kind, one in loads.items():
        beside = (f"{one.cpu_ms(FIRST, process):.1f}" for process in ("users", "model", "postgres"))
        stored = " · ".join(f"{count:,}" for count in one.stored.values()) or "–"
        rows.append(
            f"| {TITLES[kind]} | {' | '.join(beside)} | {one.asked:,} | {one.asked - one.incomplete:,} | {stored} |"
        )
    if kinds := [kind for kind in MOST_CPU_MS if kind in loads]:
        rows += ["", "| the slower kind of question | budget | measured | |", "| --- | ---: | ---: | --- |"]
        rows += [row for kind in kinds for row in _budgets(kind, loads[kind])]
    return rows


def put(page: Path, section: Sequence[str]) -> None:
    """Write the section at the end of the page, and remove its previous version."""
    put_section(page, _TITLE, section)


def put_section(page: Path, title: str, section: Sequence[str]) -> None:
    """Write a section with this title where the page has its previous version, or at the end of the page."""
    parts = parts_of(page)
    there = [at for at, part in enumerate(parts) if f"{part}\n".startswith(f"{title}\n")]
    parts[slice(there[0], there[0] + 1) if there else slice(len(parts), None)] = ["\n".join(section)]
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def parts_of(page: Path) -> list[str]:
    """The page's introduction, and its sections with their titles; nothing if there is no page."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    return [part for part in (part.strip("\n") for part in re.split(r"(?m)^(?=## )", text)) if part]


def _budgets(kind: str, load: Load) -> list[str]:
    seconds = max(load.seconds(question) for question in QUESTIONS)
    cpu = max(load.cpu_ms(question) for question in QUESTIONS)
    judged = [
        ("an answer, s", f"≤ {MOST_SECONDS:g}", f"{seconds:.2f}", seconds <= MOST_SECONDS),
        ("server CPU for an answer, ms", f"≤ {MOST_CPU_MS[kind]:g}", f"{cpu:.1f}", cpu <= MOST_CPU_MS[kind]),
        ("lost or incomplete", "0", str(load.lost + load.incomplete), not load.lost + load.incomplete),
    ]
    return [
        f"| {NAMES[kind]}: {what} | {most} | {found} | {'met' if met else '**not met**'} |"
        for what, most, found, met in judged
    ]


def _percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]
