"""Formats numbers, times and names for people. Unknown values stay None; the templates show a word or a dash."""

import re
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from datalayer.cleaning import clean_time, utc_now
from datalayer.errors import InvalidRecord
from datalayer.records.usage import LlmCall, UsageTotals
from threadkeeper.language.catalogue import PAGES
from threadkeeper.web.pages.sentences import Say

_MINUTE = 60.0
_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s|(?<=[。！？])|\n|:?\s*<(?=[A-Z]\w*(?:Error|Exception)\b)")
_LONGEST_SENTENCE = 300


def money(amount: Decimal | None) -> str | None:
    """US dollars: two decimals from one dollar on, three significant digits below."""
    if amount is None:
        return None
    if amount == 0:
        return "$0"
    if abs(amount) >= 1:
        return f"${amount:,.2f}"
    digits = max(2, 2 - amount.adjusted())
    text = f"{amount:.{digits}f}".rstrip("0")
    return f"${text.ljust(text.index('.') + 3, '0')}"


def cost(totals: UsageTotals, say: Say) -> str:
    """The total cost of calls: "unknown" without any price, with the number of unpriced calls if some have none; a dash
    without tokens."""
    if not (totals.total_tokens or totals.total_cost or totals.unpriced):
        return "–"
    if not totals.unpriced:
        return money(totals.total_cost) or ""
    if not totals.total_cost:
        return say("unknown")
    return f"{money(totals.total_cost)} {say('and_unknown', calls=count(totals.unpriced))}"


def cost_of_call(call: LlmCall, say: Say) -> str:
    """The cost of a call; "unknown" without a price, a dash without tokens."""
    if call.total_cost is None:
        return say("unknown") if call.prompt_tokens or call.completion_tokens else "–"
    return money(call.total_cost) or ""


def count(number: int | None) -> str | None:
    return None if number is None else f"{number:,}"


def short_count(number: int) -> str:
    """At most four digits and a letter, for large type."""
    for size, letter in ((1_000_000_000, "B"), (1_000_000, "M"), (10_000, "k")):
        if number >= size:
            unit = 1_000 if letter == "k" else size
            return f"{number / unit:.{1 if number / unit >= 100 else 2}f}".rstrip("0").rstrip(".") + letter
    return f"{number:,}"


def seconds(duration: float | None) -> str | None:
    if duration is None:
        return None
    if duration < 1:
        return f"{duration * 1000:.0f} ms"
    if duration < _MINUTE:
        return f"{duration:.1f} s"
    return f"{duration // _MINUTE:.0f} min {duration % _MINUTE:.0f} s"


def speed(tokens_per_second: float | None) -> str | None:
    if tokens_per_second is None:
        return None
    return f"{tokens_per_second:.1f}" if tokens_per_second < 10 else f"{tokens_per_second:,.0f}"


def percent(part: float | None) -> str | None:
    if part is None:
        return None
    return f"{part:.1%}" if 0 < part < 0.1 else f"{part:.0%}"


def change(now: Decimal | float | None, before: Decimal | float | None) -> float | None:
    """The relative growth: 0.5 is an increase of 50 %. None if a value is missing or the earlier one is 0."""
    if now is None or before is None or before == 0:
        return None
    return float(now) / float(before) - 1


def moment(text: str | None, zone: ZoneInfo, *, exact: bool = False) -> str | None:
    """A stored UTC time in the reader's time zone."""
    if text is None:
        return None
    local = datetime.fromisoformat(text).astimezone(zone)
    return local.strftime("%Y-%m-%d %H:%M:%S") if not exact else local.isoformat(sep=" ", timespec="milliseconds")


def ago(text: str, say: Say) -> str:
    """How long ago a stored UTC time is: minutes, from an hour on hours, from two days on days."""
    seconds_ago = (datetime.fromisoformat(utc_now()) - datetime.fromisoformat(text)).total_seconds()
    for unit, size, least in (("days", 86_400, 2), ("hours", 3_600, 1), ("minutes", 60, 1)):
        if (number := int(seconds_ago // size)) >= least:
            return say(f"ago_{unit}", count=number)
    return say("ago_now")


def size(number: int) -> str:
    """A number of bytes."""
    for unit, scale in (("GB", 1_000**3), ("MB", 1_000**2), ("kB", 1_000)):
        if number >= scale:
            return f"{number / scale:.{1 if number < 10 * scale else 0}f} {unit}"
    return f"{number} B"


def day_of(text: str, zone: ZoneInfo) -> str:
    """The reader's day of a UTC time; "" if it is not a time, because other programs write metadata, too."""
    try:
        moment = clean_time(text, "time")
    except InvalidRecord:
        return ""
    return datetime.fromisoformat(moment).astimezone(zone).date().isoformat() if moment else ""


def first_sentence(text: str | None) -> str | None:
    """The first sentence of an error message: the rest is usually nested errors."""
    if not text:
        return text
    first = _SENTENCE_ENDS.split(text.strip(), maxsplit=1)[0][:_LONGEST_SENTENCE].rstrip()
    return first if first == text.strip() else f"{first} …"


def named(dimension: str, value: str | None, say: Say, name: str | None = None) -> str:
    """The displayed name of a value of a dimension."""
    if value is None:
        return say("without")
    if dimension in ("kind", "status"):
        sentence = f"{dimension}_{value}"
        return say(sentence) if sentence in PAGES else value
    return name or value
