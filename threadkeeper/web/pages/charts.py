"""Charts: figures for Plotly as plain data, each with the same numbers as a table.

Colours are names of CSS variables of the theme. `static/charts.js` looks them up, so charts match the page in light and
dark. Plotly interprets some HTML in texts, so names are escaped.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from datalayer.records.usage import Interval, UsageBucket, UsageTotals
from threadkeeper.language.numbers import separators
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.sentences import Say

MOST_MODELS = 5
"""Models with a colour of their own; the rest share one more."""
_COLOURS = ("--chart-1", "--chart-2", "--chart-3", "--chart-4", "--chart-5")
# More dots would hide the line.
_MOST_DOTS = 60
_OTHERS = "--muted-foreground"
_CLOCK: dict[Interval, str] = {
    "5 minutes": "%Y-%m-%d %H:%M",
    "hour": "%Y-%m-%d %H:%M",
    "day": "%Y-%m-%d",
    "week": "%Y-%m-%d",
    "month": "%Y-%m",
    "year": "%Y",
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. `figure` is JSON, or "" with a `note` that says why; each row has one text for each head."""

    title: str
    figure: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Drawing:
    """The charts of the usage page, from the buckets of all calls and those of the models with their own colour."""

    buckets: Sequence[UsageBucket]
    by_model: Sequence[tuple[str, Sequence[UsageBucket]]]
    interval: Interval
    zone: ZoneInfo
    say: Say

    def charts(self) -> list[Chart]:
        return [self._cost(), self._tokens(), self._calls(), self._first_token(), self._speed()]

    def _cost(self) -> Chart:
        say = self.say
        parts = [(model, [bucket.totals for bucket in own]) for model, own in self.by_model]
        rest = [
            replace(
                bucket.totals,
                total_cost=bucket.totals.total_cost - sum(own.total_cost for own in own_colours),
                unpriced=bucket.totals.unpriced - sum(own.unpriced for own in own_colours),
            )
            for bucket, *own_colours in zip(self.buckets, *(own for _, own in parts), strict=True)
        ]
        if any(totals.total_cost or totals.unpriced for totals in rest):
            parts.append((say("other_models"), rest))
        costs_nothing = not any(bucket.totals.total_cost for bucket in self.buckets)
        traces = [
            self._bars(
                name,
                [float(totals.total_cost) for totals in own],
                _OTHERS if at >= len(self.by_model) else _COLOURS[at],
                [formats.cost(totals, say) for totals in own],
            )
            for at, (name, own) in enumerate(parts)
            # A model without a visible bar is only in the table.
            if costs_nothing or any(totals.total_cost for totals in own)
        ]
        drawn = self._chart(
            "chart_cost",
            traces,
            {"yaxis": {"tickprefix": "$"}},
            (say("total"), *(name for name, _ in parts)),
            lambda at, totals: (formats.cost(totals, say), *(formats.cost(own[at], say) for _, own in parts)),
        )
        if costs_nothing and any(bucket.totals.unpriced for bucket in self.buckets):
            return replace(drawn, figure="", note=say("chart_unpriced"))
        return drawn

    def _tokens(self) -> Chart:
        return self._chart(
            "chart_tokens",
            [
                self._counts("tokens_in", "--chart-1", lambda totals: totals.prompt_tokens),
                self._counts("tokens_out", "--chart-2", lambda totals: totals.completion_tokens),
            ],
            {},
            (self.say("tokens_in"), self.say("tokens_out")),
            lambda _, totals: (self._count(totals.prompt_tokens), self._count(totals.completion_tokens)),
        )

    def _calls(self) -> Chart:
        return self._chart(
            "chart_calls",
            [
                self._counts("succeeded", "--chart-3", lambda totals: totals.calls - totals.failed),
                self._counts("failed", "--destructive", lambda totals: totals.failed),
            ],
            {},
            (self.say("calls"), self.say("failed")),
            lambda _, totals: (self._count(totals.calls), self._count(totals.failed)),
        )

    def _first_token(self) -> Chart:
        first = [bucket.totals.first_token_p50 for bucket in self.buckets]
        slow = [bucket.totals.first_token_p95 for bucket in self.buckets]
        say = self.say
        half, most = f"{say('first_token')}, p50", f"{say('first_token')}, p95"
        return self._chart(
            "chart_first_token",
            [
                self._line(half, first, "--chart-4", [formats.seconds(value, say) or "" for value in first]),
                self._line(most, slow, "--chart-3", [formats.seconds(value, say) or "" for value in slow]),
            ],
            {"yaxis": {"ticksuffix": " s"}},
            (half, most),
            lambda _, totals: (
                formats.seconds(totals.first_token_p50, say) or "–",
                formats.seconds(totals.first_token_p95, say) or "–",
            ),
        )

    def _speed(self) -> Chart:
        say, unit = self.say, self.say("tokens_per_second")
        speed = [bucket.totals.mean_tokens_per_second for bucket in self.buckets]
        labels = [f"{formats.speed(value, say)} {unit}" for value in speed]
        return self._chart(
            "chart_speed",
            [self._line(say("speed"), speed, "--chart-5", labels)],
            {},
            (f"{say('speed')} ({unit})",),
            lambda _, totals: (formats.speed(totals.mean_tokens_per_second, say) or "–",),
        )

    # Parts of a figure

    def _chart(
        self,
        name: str,
        traces: list[dict[str, Any]],
        layout: dict[str, Any],
        heads: tuple[str, ...],
        cells: Callable[[int, UsageTotals], tuple[str, ...]],
    ) -> Chart:
        clock = _CLOCK[self.interval]
        axis: dict[str, Any] = {"type": "date", "hoverformat": clock}
        if self.say.language != "en-US":
            # Plotly's month names are English only.
            axis["tickformat"] = clock.removeprefix("%Y-") if self.interval not in ("month", "year") else clock
        rows = tuple(
            (local(bucket, self.zone).strftime(clock), *cells(at, bucket.totals))
            for at, bucket in enumerate(self.buckets)
            if bucket.totals.calls
        )
        shared = {"barmode": "stack", "xaxis": axis, "separators": separators(self.say.language)}
        figure = {"data": traces, "layout": {**shared, **layout}}
        return Chart(self.say(name), as_json(figure), (self.say("time"), *heads), rows)

    def _count(self, value: int) -> str:
        return formats.count(value, self.say) or ""

    def _counts(self, name: str, colour: str, number: Callable[[UsageTotals], int]) -> dict[str, Any]:
        numbers = [number(bucket.totals) for bucket in self.buckets]
        return self._bars(self.say(name), numbers, colour, [self._count(one) for one in numbers])

    def _bars(self, name: str, values: Sequence[float], colour: str, labels: list[str]) -> dict[str, Any]:
        return {**self._trace("bar", name, values, labels), "marker": {"color": colour}}

    def _line(self, name: str, values: Sequence[float | None], colour: str, labels: list[str]) -> dict[str, Any]:
        return {
            **self._trace("scatter", name, values, labels),
            "mode": "lines+markers" if len(values) <= _MOST_DOTS else "lines",
            "connectgaps": len(values) > _MOST_DOTS,
            "line": {"color": colour, "width": 2},
            "marker": {"size": 5},
        }

    def _trace(self, kind: str, name: str, values: Sequence[float | None], labels: list[str]) -> dict[str, Any]:
        return {
            "type": kind,
            "name": escape(shortened(name), quote=False),
            "x": [local(bucket, self.zone).strftime("%Y-%m-%dT%H:%M") for bucket in self.buckets],
            "y": list(values),
            "customdata": labels,
            "hovertemplate": "%{customdata}",
        }


def local(bucket: UsageBucket, zone: ZoneInfo) -> datetime:
    """The start of the bucket in the reader's time zone."""
    return datetime.fromisoformat(bucket.start).astimezone(zone)


def as_json(value: Any) -> str:
    """Compact JSON for a data attribute of HTML."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def shortened(name: str, most: int = 40) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
