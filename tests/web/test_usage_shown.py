"""Formats of numbers, and figures for Plotly."""

import json
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import plotly.graph_objects
import pytest

from datalayer.records.usage import UsageBucket, UsageTotals
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.charts import Drawing
from threadkeeper.web.pages.sentences import Say

say = Say("en-US")


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, None),
        ("0", "$0"),
        ("0E-12", "$0"),
        ("1234567.891", "$1,234,567.89"),
        ("1", "$1.00"),
        ("0.5", "$0.50"),
        ("0.05", "$0.05"),
        ("0.01234", "$0.0123"),
        ("0.000000012345", "$0.0000000123"),
        ("0.000000000001", "$0.000000000001"),
        ("0.9999", "$1.00"),
    ],
)
def test_money_has_significant_digits(amount: str | None, shown: str | None) -> None:
    assert formats.money(None if amount is None else Decimal(amount), say) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (9_999, "9,999"), (10_000, "10k"), (123_456, "123.5k"), (1_000_000, "1M"), (2_345_678_901, "2.35B")],
)
def test_large_counts_are_short(number: int, shown: str) -> None:
    assert formats.short_count(number, say) == shown


def test_durations_speeds_shares_and_changes() -> None:
    assert [formats.seconds(value, say) for value in (None, 0.25, 2.04, 75.4)] == [
        None,
        "250 ms",
        "2.0 s",
        "1 min 15 s",
    ]
    assert [formats.speed(value, say) for value in (None, 3.21, 300.0)] == [None, "3.2", "300"]
    assert [formats.percent(value, say) for value in (None, 0.0, 0.004, 0.5, 1.5)] == [
        None,
        "0%",
        "0.4%",
        "50%",
        "150%",
    ]
    pairs = ((2, 1), (1, 2), (1, 0), (1.004, 1), (0, 0), (None, 1), (1, None))
    assert [formats.trend(*pair) for pair in pairs] == [1, -1, 1, 0, 0, None, None]


def test_numbers_are_written_as_in_the_language() -> None:
    german, french = Say("de-DE"), Say("fr-FR")
    amount = Decimal("1234.5")
    assert (formats.money(amount, german), formats.count(12345, german)) == ("1.234,50\xa0$", "12.345")
    assert (formats.money(amount, Say("zh-CN")), formats.money(amount, Say("ja"))) == ("$1,234.50", "$1,234.50")
    assert (formats.short_count(832_000, german), formats.short_count(1_250_000, german)) == ("832k", "1,25M")
    large = [formats.short_count(2_345_678_901, one) for one in (german, french, Say("ja"))]
    assert large == ["2,35\xa0Mrd.", "2,35\xa0Md", "23.46億"]
    assert (formats.score(0.5, german), formats.score(0.5, say), formats.score(None, say)) == ("0,50", "0.50", None)
    assert (formats.percent(0.004, german), formats.seconds(2.04, german)) == ("0,4\xa0%", "2,0 s")
    assert (formats.count(12345, french), formats.percent(0.5, french)) == ("12\u202f345", "50\xa0%")
    assert formats.size(1_500, german) == "1,5 kB"


def test_partly_unknown_costs_are_marked() -> None:
    assert formats.cost(UsageTotals(calls=2, total_cost=Decimal("0.5")), say) == "$0.50"
    assert formats.cost(UsageTotals(calls=2, unpriced=2), say) == "unknown"
    assert formats.cost(UsageTotals(calls=2), say) == "–"
    assert formats.cost(UsageTotals(calls=2, prompt_tokens=5), say) == "$0"
    assert formats.cost(UsageTotals(calls=2, unpriced=1, total_cost=Decimal(1)), say) == "$1.00 + unknown for 1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, None),
        ("The model does not exist.", "The model does not exist."),
        ("It broke: <ClientError: 400, message='<TransferEncodingError: 1>'>. Reset(104, 'by peer')", "It broke …"),
        ("Not now. Please wait.\nTraceback", "Not now. …"),
        ("模型不存在。请更换。", "模型不存在。 …"),
        ("Rate limit 0.5 <a>", "Rate limit 0.5 <a>"),
    ],
)
def test_the_first_sentence_of_an_error_is_shown(text: str | None, shown: str | None) -> None:
    assert formats.first_sentence(text) == shown


def drawing(*costs: tuple[str, ...]) -> Drawing:
    """One bucket a day; the first cost is that of all calls."""

    def buckets(at: int, value: str | None) -> list[UsageBucket]:
        return [
            UsageBucket(
                f"2026-03-{day:02}T23:00:00.000000Z",
                f"2026-03-{day + 1:02}T23:00:00.000000Z",
                value,
                UsageTotals(
                    calls=day, total_cost=Decimal(cost[at]), prompt_tokens=10 * day, mean_tokens_per_second=None
                ),
            )
            for day, cost in enumerate(costs, 1)
        ]

    names = ["<b>a</b>", "x" * 100]
    by_model = [(names[at - 1], buckets(at, names[at - 1])) for at in range(1, len(costs[0]))]
    return Drawing(buckets(0, None), by_model, "day", ZoneInfo("Europe/Berlin"), say)


def test_figures_are_valid_for_plotly_and_match_their_tables() -> None:
    charts = drawing(("0.7", "0.5", "0.1"), ("0.25", "0.25", "0")).charts()
    figures: list[dict[str, Any]] = [json.loads(chart.figure) for chart in charts]
    for figure in figures:
        plain = json.loads(json.dumps(figure).replace('"--', '"#123456').replace("chart-", ""))
        for trace in plain["data"]:
            for part in ("marker", "line"):
                if "color" in trace.get(part, {}):
                    trace[part]["color"] = "#123456"
        plotly.graph_objects.Figure(plain)
    cost = figures[0]
    assert [trace["name"] for trace in cost["data"]] == ["&lt;b&gt;a&lt;/b&gt;", f"{'x' * 39}…", "other models"]
    assert [trace["y"] for trace in cost["data"]] == [[0.5, 0.25], [0.1, 0.0], [0.1, 0.0]]
    assert cost["data"][0]["x"] == ["2026-03-02T00:00", "2026-03-03T00:00"]
    assert charts[0].rows[0] == ("2026-03-02", "$0.70", "$0.50", "$0.10", "$0.10")


def test_a_model_without_a_visible_bar_is_not_in_the_legend() -> None:
    (cost, *_) = drawing(("0.7", "0", "0.7"), ("0.25", "0", "0.25")).charts()
    (trace,) = json.loads(cost.figure)["data"]
    assert (trace["name"], trace["marker"]["color"]) == (f"{'x' * 39}…", "--chart-2")
    assert len(cost.heads) == 4, "the table has it"
    (free, *_) = drawing(
        ("0", "0", "0"),
    ).charts()
    assert len(json.loads(free.figure)["data"]) == 2, "where nothing costs anything the names are all there is"


def test_other_models_are_absent_if_all_have_their_own_colour() -> None:
    figure = json.loads(
        drawing(
            ("0.5", "0.5"),
        )
        .charts()[0]
        .figure
    )
    assert len(figure["data"]) == 1
