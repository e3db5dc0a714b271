"""Statistics of votes and verdicts: over time, by assistant and model, inter-rater agreement, words of bad answers."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from datalayer.chainlit_layer import ChainlitLayer
from datalayer.cleaning import clean_time
from datalayer.records.review import AnswerFilter
from datalayer.records.review_statistics import Coverage, Satisfaction, WordCount
from threadkeeper.web.auth.roles import Reviewer
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.charts import Chart, as_json, shortened
from threadkeeper.web.pages.dependencies import Layer, Pages
from threadkeeper.web.pages.failures import InvalidInput, PageRoute
from threadkeeper.web.pages.periods import PERIODS, interval_of, intervals_for, period_of
from threadkeeper.web.pages.sentences import Say, speaker
from threadkeeper.web.pages.zone import Zone
from threadkeeper.web.review.label_names import label_name
from threadkeeper.web.review.policy import Policy

SPLITS = ("assistant", "model")
WORDS_SHOWN = 40
MOST_LINES = 5
_COLOURS = ("--chart-1", "--chart-2", "--chart-3", "--chart-4", "--chart-5")
_LONGEST = 60


router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/review/statistics")
async def redirect_to_statistics(_person: Reviewer) -> Response:
    """The address that the name of the page suggests."""
    return RedirectResponse("numbers", HTTPStatus.PERMANENT_REDIRECT)


@router.get("/review/numbers")
async def read_statistics(
    *, request: Request, person: Reviewer, layer: Layer, pages: Pages, policy: Policy, zone: Zone
) -> Response:
    say = speaker(request)
    asked = {name: request.query_params.get(name, "")[:_LONGEST] for name in ("period", "from", "to", "interval")}
    period = period_of(asked["period"] or "30d", zone, since=asked["from"], until=asked["to"])
    interval = interval_of(period, asked["interval"])
    split = request.query_params.get("by") or ""
    if split and split not in SPLITS:
        raise InvalidInput("bad_choice", value=split[:_LONGEST])
    since, until = clean_time(period.since, "since"), clean_time(period.until, "until")
    if since is None or until is None:
        raise InvalidInput("bad_order")
    which = AnswerFilter(since=since, until=until)
    coverage = await layer.coverage(which, by=split or "assistant")
    if not split:
        # With a single assistant, split by model instead.
        split = "model" if len(coverage) == 1 else "assistant"
        coverage = coverage if split == "assistant" else await layer.coverage(which, by=split)
    series = await layer.satisfaction(since, until, interval, zone.key)
    parts = await layer.satisfaction(since, until, interval, zone.key, split_by=split)
    # Including labels that the operator has removed since but that verdicts still have.
    labels = list(dict.fromkeys((*policy.labels, *sorted(name for one in coverage for name in one.labels))))
    named = label_name(say)
    # Words reveal contents of threads that need a purpose to open.
    words, texts_left = None, 0
    if not policy.asks_purpose:
        # Counted before: 0 means that the words, which are read later, lack nothing.
        texts_left = await layer.search_indexer.all_left()
        words = await _words(layer, which, policy.bad_labels)
    values = {
        "is_behind": layer.answer_follower.is_behind,
        "texts_left": texts_left,
        "period": period,
        "interval": interval,
        "periods": [name for name in PERIODS if name != "custom"],
        "intervals": intervals_for(period),
        "splits": SPLITS,
        "split": split,
        "address": _addresses(period.name, asked, split),
        "charts": charts(series, parts, zone, interval, say),
        "total": _total(coverage),
        "up": sum(one.up for one in series),
        "down": sum(one.down for one in series),
        "coverage": coverage,
        "agreement": await layer.agreement(since=since, until=until),
        "words": words,
        "labels": labels,
        "label_heads": [named(label) for label in labels],
    }
    return pages.page(request, "review/statistics.html", values, person=person, zone=zone, draws=True)


def _total(coverage: Sequence[Coverage]) -> Coverage:
    """The sum of the rows: each answer has one assistant and one model, or none."""
    return Coverage(
        None,
        answers=sum(one.answers for one in coverage),
        reviewed=sum(one.reviewed for one in coverage),
        down=sum(one.down for one in coverage),
        down_reviewed=sum(one.down_reviewed for one in coverage),
    )


async def _words(layer: ChainlitLayer, which: AnswerFilter, bad_labels: Sequence[str]) -> list[tuple[WordCount, str]]:
    """Words that are frequent in bad answers, each with the URL of these answers in the inbox."""
    found = await layer.words_in_bad_answers(which, bad_labels=bad_labels, limit=WORDS_SHOWN)
    down, judged = [("thumb", "down")], [("label", label) for label in bad_labels]
    # The inbox has no filter for "thumbs-down or bad verdict", so the link uses one of the two.
    return [(one, "/review?" + urlencode([("words", one.word), *(down if one.down else judged)])) for one in found]


def _addresses(period: str, asked: dict[str, str], split: str) -> Callable[..., str]:
    kept = {"period": period, "interval": asked["interval"], "by": split}

    def address(**changes: str | None) -> str:
        values = {**kept, **changes}
        return "/review/numbers?" + "&".join(f"{name}={value}" for name, value in values.items() if value)

    return address


def charts(
    series: Sequence[Satisfaction], parts: Sequence[Satisfaction], zone: ZoneInfo, interval: str, say: Say
) -> list[Chart]:
    """Votes over time, and the share of thumbs-up over time for the values with the most votes."""
    clock = "%Y-%m-%d %H:%M" if interval in ("5 minutes", "hour") else "%Y-%m-%d"

    def at(moment: str) -> datetime:
        return datetime.fromisoformat(moment).astimezone(zone)

    times = [at(one.start).strftime("%Y-%m-%dT%H:%M") for one in series]
    thumbs = [
        _trace("bar", say("thumbs_up"), times, [one.up for one in series], "--chart-1"),
        _trace("bar", say("thumbs_down"), times, [one.down for one in series], "--destructive"),
    ]
    rows = tuple(
        (
            at(one.start).strftime(clock),
            str(one.answers),
            str(one.up),
            str(one.down),
            formats.percent(one.share, say) or "–",
        )
        for one in series
        if one.answers
    )
    heads = (say("time"), say("answers"), say("thumbs_up"), say("thumbs_down"), say("satisfaction"))
    layout = {"barmode": "stack", "xaxis": {"type": "date", "hoverformat": clock}}
    found = [Chart(say("chart_thumbs"), as_json({"data": thumbs, "layout": layout}), heads, rows)]
    by_value: dict[str | None, list[Satisfaction]] = defaultdict(list)
    for one in parts:
        by_value[one.value].append(one)
    most = sorted(by_value.items(), key=lambda pair: -sum(one.up + one.down for one in pair[1]))[:MOST_LINES]
    lines = []
    for (value, own), colour in zip(most, _COLOURS, strict=False):
        shares = {one.start: one.share for one in own}
        name = value if value is not None else say("without")
        line = _trace("scatter", name, times, [shares.get(one.start) for one in series], colour)
        lines.append({**line, "mode": "lines+markers", "connectgaps": True, "line": {"color": colour, "width": 2}})
    share_rows = tuple(
        (
            value if value is not None else say("without"),
            str(sum(one.answers for one in own)),
            str(sum(one.up for one in own)),
            str(sum(one.down for one in own)),
            formats.percent(_share(own), say) or "–",
        )
        for value, own in most
    )
    layout = {**layout, "yaxis": {"tickformat": ".0%", "range": [0, 1.05]}}
    figure = as_json({"data": lines, "layout": layout})
    found.append(Chart(say("chart_satisfaction"), figure, (say("name"), *heads[1:]), share_rows))
    return found


def _share(own: Sequence[Satisfaction]) -> float | None:
    up, down = sum(one.up for one in own), sum(one.down for one in own)
    return up / (up + down) if up + down else None


def _trace(kind: str, name: str, times: Sequence[str], values: Sequence[float | None], colour: str) -> dict[str, Any]:
    return {
        "type": kind,
        "name": escape(shortened(name), quote=False),
        "x": list(times),
        "y": list(values),
        "marker": {"color": colour},
    }
