"""Periods follow local time, also when clocks change."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.cleaning import clean_time
from datalayer.errors import InvalidRecord
from datalayer.periods import MOST_PERIODS, periods
from datalayer.records.usage import Interval

LONGEST: dict[Interval, timedelta] = {
    "5 minutes": timedelta(minutes=5),
    "hour": timedelta(hours=1),
    "day": timedelta(hours=25),
    "week": timedelta(days=7, hours=1),
    "month": timedelta(days=31, hours=1),
    "year": timedelta(days=366),
}


def cut(since: str, until: str, interval: Interval, zone: str) -> list[str]:
    """The beginnings of the periods in local time."""
    begins = [datetime.fromisoformat(begin) for begin, _ in periods(since, until, interval, zone)]
    return [begin.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M") for begin in begins]


def test_periods_begin_at_calendar_boundaries() -> None:
    def of(interval: Interval, until: str) -> list[str]:
        return cut("2026-03-10T12:03:00Z", until, interval, "UTC")

    assert of("5 minutes", "2026-03-10T12:11:00Z") == ["2026-03-10 12:03", "2026-03-10 12:05", "2026-03-10 12:10"]
    assert of("hour", "2026-03-10T13:00:01Z") == ["2026-03-10 12:03", "2026-03-10 13:00"]
    assert of("day", "2026-03-11T00:00:00Z") == ["2026-03-10 12:03"]
    assert of("week", "2026-03-20T00:00:00Z") == ["2026-03-10 12:03", "2026-03-16 00:00"]
    assert of("month", "2026-05-01T00:00:00Z") == ["2026-03-10 12:03", "2026-04-01 00:00"]
    assert of("year", "2028-01-01T00:00:01Z") == [
        "2026-03-10 12:03",
        "2027-01-01 00:00",
        "2028-01-01 00:00",
    ]


def test_an_empty_range_has_no_periods() -> None:
    assert periods("2026-03-10T12:00:00Z", "2026-03-10T12:00:00Z", "day", "UTC") == []
    assert periods("2026-03-10T12:00:00Z", "2026-03-09T12:00:00Z", "day", "UTC") == []


def test_a_day_with_a_clock_change_is_one_period() -> None:
    hours = {
        begin[:10]: datetime.fromisoformat(end) - datetime.fromisoformat(begin)
        for begin, end in periods("2026-03-27T23:00:00Z", "2026-03-30T22:00:00Z", "day", "Europe/Berlin")
    }
    assert [length / timedelta(hours=1) for length in hours.values()] == [24, 23, 24]
    autumn = periods("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", "hour", "Europe/Berlin")
    assert len(autumn) == 25


def test_hours_in_zones_with_fractional_offsets() -> None:
    assert cut("2026-03-10T00:00:00Z", "2026-03-10T02:00:00Z", "hour", "Asia/Kathmandu") == [
        "2026-03-10 05:45",
        "2026-03-10 06:00",
        "2026-03-10 07:00",
    ]
    # The clocks of Lord Howe change by half an hour.
    assert cut("2026-04-04T13:00:00Z", "2026-04-04T17:00:00Z", "hour", "Australia/Lord_Howe")[-1].endswith(":00")


def test_a_skipped_calendar_day_has_no_period() -> None:
    days = cut("2011-12-29T10:00:00Z", "2012-01-01T10:00:00Z", "day", "Pacific/Apia")
    assert days == ["2011-12-29 00:00", "2011-12-31 00:00", "2012-01-01 00:00"]


@given(
    st.datetimes(datetime(1975, 1, 1), datetime(2037, 1, 1)),
    st.floats(0.01, 40),
    st.sampled_from(list(LONGEST)),
    st.sampled_from(sorted(available_timezones() - {"localtime"})),
)
def test_periods_are_contiguous_and_of_bounded_length(
    begin: datetime, pieces: float, interval: Interval, zone: str
) -> None:
    longest = LONGEST[interval]
    since, until = clean_time(begin, "begin"), clean_time(begin + pieces * longest, "end")
    assert since is not None
    assert until is not None
    found = periods(since, until, interval, zone)
    assert (found[0][0], found[-1][1]) == (since, until)
    assert all(end == start for (_, end), (start, _) in pairwise(found))
    lengths = [datetime.fromisoformat(end) - datetime.fromisoformat(start) for start, end in found]
    # Some zones have once changed by hours, or across the date line.
    slack = timedelta(hours=25) if longest > timedelta(hours=1) else timedelta(0)
    assert all(timedelta(0) < length <= longest + slack for length in lengths)
    assert len(found) <= 3 * pieces + 4


def test_too_many_periods_are_refused() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    end = begin + timedelta(minutes=5) * MOST_PERIODS
    assert len(periods(begin.isoformat(), end.isoformat(), "5 minutes", "UTC")) == MOST_PERIODS
    with pytest.raises(InvalidRecord, match="more than"):
        periods(begin.isoformat(), (end + timedelta(seconds=1)).isoformat(), "5 minutes", "UTC")
    with pytest.raises(InvalidRecord, match="outside the years 1 to 9999"):
        periods("9990-01-01T00:00:00Z", "9999-12-31T00:00:00Z", "year", "Asia/Tokyo")
