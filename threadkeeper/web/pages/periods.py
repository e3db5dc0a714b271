"""The periods that a reader can choose, in the reader's time zone.

A running period is compared with the same part of the previous one: three weeks of this month with the first three
weeks of the last.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from datalayer.records.usage import Interval
from threadkeeper.web.pages.failures import InvalidInput

PERIODS = ("today", "7d", "30d", "month", "last-month", "year", "custom")
INTERVALS: tuple[Interval, ...] = ("5 minutes", "hour", "day", "week", "month", "year")
MOST_BUCKETS = 400
_DAY = timedelta(days=1)
_LENGTHS: dict[Interval, timedelta] = {
    "5 minutes": timedelta(minutes=5),
    "hour": timedelta(hours=1),
    "day": _DAY,
    "week": timedelta(days=7),
    "month": timedelta(days=28),
    "year": timedelta(days=365),
}
# The default interval of a period: that of the first length which the period does not exceed.
_FINENESS: tuple[tuple[timedelta, Interval], ...] = (
    (timedelta(hours=6), "5 minutes"),
    (timedelta(days=3), "hour"),
    (timedelta(days=95), "day"),
    (timedelta(days=3700), "month"),
)
_EARLIEST, _LATEST = date(2000, 1, 1), date(2200, 1, 1)


@dataclass(frozen=True, slots=True)
class Period:
    """A period from `since` (inclusive) to `until` (exclusive), with the part of the previous one to compare with."""

    name: str
    since: datetime
    until: datetime
    before_since: datetime
    before_until: datetime
    now: datetime

    @property
    def is_running(self) -> bool:
        return self.since <= self.now < self.until

    @property
    def dates(self) -> tuple[str, ...]:
        """The first and the last day, or one text for a single day; start and end to the minute for parts of days."""
        if self.since.time() == self.until.time() == time():
            texts = [f"{end:%Y-%m-%d}" for end in (self.since, self.last)]
        else:
            texts = [f"{end:%Y-%m-%d %H:%M}" for end in (self.since, self.until)]
        return tuple(dict.fromkeys(texts))

    @property
    def last(self) -> datetime:
        """The last instant of the period."""
        return self.until - timedelta(microseconds=1)


def period_of(name: str, zone: ZoneInfo, *, since: str = "", until: str = "", now: datetime | None = None) -> Period:
    """The period of this name.

    Args:
        name: one of `PERIODS`.
        zone: the reader's.
        since: for "custom", the first day or the start time, in the zone.
        until: for "custom", the last day (inclusive) or the end time.
        now: the current time.

    Raises:
        InvalidInput: the name or a date is invalid.
    """
    now = (now or datetime.now(UTC)).astimezone(zone)
    today = now.date()
    tomorrow = today + _DAY
    first = today.replace(day=1)
    match name:
        case "today":
            begins, ends, before = today, tomorrow, today - _DAY
        case "7d" | "30d":
            days = timedelta(days=int(name.removesuffix("d")))
            begins, ends, before = tomorrow - days, tomorrow, tomorrow - 2 * days
        case "month":
            begins, ends, before = first, _next_month(first), _month_before(first)
        case "last-month":
            last = _month_before(first)
            begins, ends, before = last, first, _month_before(last)
        case "year":
            begins = today.replace(month=1, day=1)
            ends, before = begins.replace(year=today.year + 1), begins.replace(year=today.year - 1)
        case "custom":
            return _custom(instant(since, zone, is_end=False), instant(until, zone, is_end=True), now)
        case _:
            raise InvalidInput("bad_period", value=name[:60])
    start, end, before_start = (_midnight(day, zone) for day in (begins, ends, before))
    # Compare wall clocks: noon is the middle of a day of 23 hours, too.
    come = min(now, end).replace(tzinfo=None) - start.replace(tzinfo=None)
    before_end = (before_start.replace(tzinfo=None) + come).replace(tzinfo=zone)
    return Period(name, start, end, before_start, min(before_end, start), now)


def interval_of(period: Period, name: str = "") -> Interval:
    """The interval of this name, or the default one of the period.

    Raises:
        InvalidInput: the name is unknown, or the interval does not fit the period.
    """
    length = period.until - period.since
    if not name:
        return next((interval for longest, interval in _FINENESS if length <= longest), "year")
    interval = next((one for one in INTERVALS if one == name), None)
    if interval is None:
        raise InvalidInput("bad_interval", value=name[:60])
    if interval not in intervals_for(period):
        raise InvalidInput("bad_fineness", most=MOST_BUCKETS)
    return interval


def intervals_for(period: Period) -> list[Interval]:
    """The intervals that split the period into at most `MOST_BUCKETS` buckets, and into more than one."""
    length = period.until - period.since
    return [one for one in INTERVALS if _LENGTHS[one] * MOST_BUCKETS >= length and _LENGTHS[one] < length]


def _custom(start: datetime, end: datetime, now: datetime) -> Period:
    if start >= end:
        raise InvalidInput("bad_order")
    length = end.replace(tzinfo=None) - start.replace(tzinfo=None)
    earliest = datetime.combine(_EARLIEST, time())
    before = max(start.replace(tzinfo=None) - length, earliest).replace(tzinfo=start.tzinfo)
    come = min(max(now, start), end).replace(tzinfo=None) - start.replace(tzinfo=None)
    until = min(before + come, start) if start <= now < end else start
    return Period("custom", start, end, before, until, now)


def instant(text: str, zone: ZoneInfo, *, is_end: bool) -> datetime:
    """The time of a text: a day begins at midnight in the zone, and ends at the next; times without a zone are in it.

    Raises:
        InvalidInput: it is no date or time, or centuries away.
    """
    try:
        if len(text) == len("2026-01-31"):
            day = date.fromisoformat(text)
            instant = _midnight(day + _DAY if is_end else day, zone)
        else:
            instant = datetime.fromisoformat(text)
            instant = instant.replace(tzinfo=zone) if instant.tzinfo is None else instant.astimezone(zone)
    except (ValueError, OverflowError):
        raise InvalidInput("bad_date", value=text[:60]) from None
    if not _EARLIEST <= instant.date() <= _LATEST:
        raise InvalidInput("bad_date", value=text[:60])
    return instant


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)


def _next_month(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def _month_before(first: date) -> date:
    return (first - _DAY).replace(day=1)
