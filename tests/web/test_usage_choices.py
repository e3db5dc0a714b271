"""The parameters of usage pages: periods in the reader's time zone, intervals, filters."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from starlette.datastructures import QueryParams

from threadkeeper.web.pages.failures import InvalidInput
from threadkeeper.web.pages.periods import INTERVALS, MOST_BUCKETS, interval_of, intervals_for, period_of
from threadkeeper.web.usage.query import read_query

BERLIN = ZoneInfo("Europe/Berlin")
# Half past midnight in Berlin, the day before in UTC.
NOW = datetime(2026, 3, 16, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "since", "until", "before_since", "before_until"),
    [
        ("today", "2026-03-17", "2026-03-18", "2026-03-16", "2026-03-16T00:30"),
        ("7d", "2026-03-11", "2026-03-18", "2026-03-04", "2026-03-10T00:30"),
        ("30d", "2026-02-16", "2026-03-18", "2026-01-17", "2026-02-15T00:30"),
        ("month", "2026-03-01", "2026-04-01", "2026-02-01", "2026-02-17T00:30"),
        ("last-month", "2026-02-01", "2026-03-01", "2026-01-01", "2026-01-29"),
        ("year", "2026-01-01", "2027-01-01", "2025-01-01", "2025-03-17T00:30"),
    ],
)
def test_a_running_period_is_compared_with_the_same_part_of_the_previous_one(
    name: str, since: str, until: str, before_since: str, before_until: str
) -> None:
    period = period_of(name, BERLIN, now=NOW)
    expected = [
        datetime.fromisoformat(text).replace(tzinfo=BERLIN) for text in (since, until, before_since, before_until)
    ]
    assert [period.since, period.until, period.before_since, period.before_until] == expected
    assert period.is_running is (name != "last-month")


def test_a_month_is_not_compared_beyond_the_end_of_a_shorter_one() -> None:
    period = period_of("month", BERLIN, now=datetime(2026, 3, 31, 12, tzinfo=UTC))
    assert period.before_until == period.since


def test_the_last_day_of_a_custom_period_is_included_and_an_end_time_is_not() -> None:
    days = period_of("custom", BERLIN, since="2026-03-29", until="2026-03-29", now=NOW)
    # The clocks go forward on that day.
    assert days.until.astimezone(UTC) - days.since.astimezone(UTC) == timedelta(hours=23)
    assert days.last.date() == days.since.date()
    window = period_of("custom", BERLIN, since="2026-03-10T12:00", until="2026-03-10T11:20:00Z", now=NOW)
    assert window.until - window.since == timedelta(minutes=20)
    assert (window.before_since, window.before_until) == (window.since - timedelta(minutes=20), window.since)
    assert interval_of(window) == "5 minutes"
    assert days.dates == ("2026-03-29",)
    assert window.dates == ("2026-03-10 12:00", "2026-03-10 12:20")
    assert period_of("7d", BERLIN, now=NOW).dates == ("2026-03-11", "2026-03-17")


@pytest.mark.parametrize(
    ("since", "until"),
    [("", ""), ("2026-03-10", ""), ("2026-03-10", "2026-03-09"), ("1999-12-31", "2026-01-01"), ("x" * 10, "y" * 10)],
)
def test_a_custom_period_needs_two_days_in_order(since: str, until: str) -> None:
    with pytest.raises(InvalidInput):
        period_of("custom", BERLIN, since=since, until=until, now=NOW)


@pytest.mark.parametrize("days", [1, 2, 3, 7, 31, 95, 366, 740, 3000, 30_000])
def test_the_interval_gives_several_points_but_not_too_many(days: int) -> None:
    since = datetime(2026, 1, 1)
    until = since + timedelta(days=days - 1)
    period = period_of("custom", BERLIN, since=since.date().isoformat(), until=until.date().isoformat(), now=NOW)
    offered = intervals_for(period)
    assert interval_of(period) in offered
    for interval in INTERVALS:
        if interval in offered:
            assert interval_of(period, interval) == interval
        else:
            with pytest.raises(InvalidInput):
                interval_of(period, interval)
    assert ("5 minutes" in offered) is (days * 288 <= MOST_BUCKETS)


def test_a_url_keeps_the_selection_and_applies_the_changes() -> None:
    given = QueryParams("period=7d&model=a&model=b%26c&tag=x&order=calls&nonsense=1&by=")
    query = read_query(given, ZoneInfo("UTC"), orders=("cost", "calls"), now=NOW)
    assert query.chosen == {"model": ("a", "b&c"), "tag": ("x",)}
    assert (query.by, query.order, query.zone.key) == ("model", "calls", "UTC")
    assert (query.calls.models, query.calls.tags, query.calls.statuses) == (("a", "b&c"), ("x",), ())
    assert query.calls.since == "2026-03-10T00:00:00.000000Z"
    assert query.without("/usage", "model", "a") == "/usage?period=7d&order=calls&model=b%26c&tag=x"
    assert query.only("/usage", "tag", "y") == "/usage?period=7d&order=calls&model=a&model=b%26c&tag=x&tag=y"
    assert query.only("/usage", "tag", "x") == query.address("/usage")
    assert query.address("/x", period=None, order=None, model=None, tag=None, cursor="é=") == "/x?cursor=%C3%A9%3D"
