"""Calendar periods in any time zone, across every change of its clocks.

Periods have no gaps and do not overlap. A day on which the clocks go forward is one period of 23 hours. A day that a
zone skipped (Samoa, 30 December 2011) has no period.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from datalayer.cleaning import clean_text, clean_time
from datalayer.errors import InvalidRecord
from datalayer.records.usage import Interval

MOST_PERIODS = 3_000
_LENGTHS = {"5 minutes": timedelta(minutes=5), "hour": timedelta(hours=1)}
_BEGINNING = datetime.min


def periods(since: str, until: str, interval: Interval, zone: str) -> list[tuple[str, str]]:
    """Start and end in UTC of each period from `since` to `until`, in order; the first and last are cut there.

    Weeks begin on Monday.

    Raises:
        InvalidRecord: the zone or interval is unknown, or there would be more than `MOST_PERIODS`.
    """
    clock = _zone(zone)
    try:
        first, end = datetime.fromisoformat(since), datetime.fromisoformat(until)
        edges = [first]
        for edge in _edges(first, interval, clock):
            if edge >= end:
                break
            if edge > edges[-1]:
                edges.append(edge)
            if len(edges) > MOST_PERIODS:
                raise InvalidRecord(
                    f"the period has more than {MOST_PERIODS:,} intervals ({interval}): "
                    "choose a longer interval or a shorter period",
                    field="interval",
                )
        texts = [clean_time(edge, "time") or "" for edge in [*edges, end]]
    except OverflowError:
        raise InvalidRecord("a time is outside the years 1 to 9999") from None
    return list(pairwise(texts)) if first < end else []


def period_around(moment: str, interval: Interval, zone: str) -> tuple[str, str]:
    """Start and end in UTC of the period that contains this moment.

    Raises:
        InvalidRecord: the zone or interval is unknown.
    """
    begin, end = islice(_edges(datetime.fromisoformat(moment), interval, _zone(zone)), 2)
    return clean_time(begin, "time") or "", clean_time(end, "time") or ""


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError):
        raise InvalidRecord(f"there is no time zone {clean_text(str(name))[:60]!r}", field="zone") from None


def _edges(first: datetime, interval: Interval, zone: ZoneInfo) -> Iterator[datetime]:
    """The starts of periods in UTC, from the one at or before `first`, without end."""
    if interval in _LENGTHS:
        length = _LENGTHS[interval]
        edge = _floor(first, length, zone)
        while True:
            yield edge
            # Back on the full hour after a clock change of less than an hour.
            edge = max(_floor(edge + length, length, zone), edge + timedelta(minutes=5))
    day = first.astimezone(zone).date()
    match interval:
        case "day":
            begin = day
        case "week":
            begin = day - timedelta(days=day.weekday())
        case "month":
            begin = day.replace(day=1)
        case "year":
            begin = day.replace(month=1, day=1)
        case _:
            raise InvalidRecord(
                f"unknown interval {clean_text(str(interval))[:60]!r}: use 5 minutes, hour, day, week, month or year"
            )
    while True:
        yield datetime.combine(begin, time(), zone).astimezone(UTC)
        begin = _after(begin, interval)


def _after(begin: date, interval: Interval) -> date:
    match interval:
        case "day":
            return begin + timedelta(days=1)
        case "week":
            return begin + timedelta(days=7)
        case "month":
            return (begin + timedelta(days=31)).replace(day=1)
        case _:
            return (begin + timedelta(days=366)).replace(month=1, day=1)


def _floor(moment: datetime, length: timedelta, zone: ZoneInfo) -> datetime:
    on_the_wall = moment.astimezone(zone).replace(tzinfo=None)
    return moment - (on_the_wall - _BEGINNING) % length
