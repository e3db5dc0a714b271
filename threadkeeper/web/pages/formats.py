"""Formats numbers, times and names for people, as is usual in their language.

Unknown values stay None; the templates show a word or a dash. Templates have these functions as `formats` and leave out
`say`. Days and times are written as 2026-11-30 12:00 in every language (docs/translating.md).
"""

import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import pass_context
from jinja2.runtime import Context

from datalayer.cleaning import clean_time, utc_now
from datalayer.errors import InvalidRecord
from datalayer.records.usage import LlmCall, UsageTotals
from threadkeeper.language.catalogue import PAGES
from threadkeeper.language.numbers import compact, dollars, number, percentage
from threadkeeper.web.pages.sentences import Say

_MINUTE = 60.0
_BILLION = 10**9
_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s|(?<=[。！？])|\n|:?\s*<(?=[A-Z]\w*(?:Error|Exception)\b)")
_LONGEST_SENTENCE = 300


def money(amount: Decimal | None, say: Say) -> str | None:
    """US dollars: two decimals from one dollar on, three significant digits below."""
    if amount is None:
        return None
    if amount == 0 or abs(amount) >= 1:
        return dollars(amount, say.language, digits=2 if amount else 0)
    digits = max(2, 2 - amount.adjusted())
    decimals = f"{amount:.{digits}f}".rstrip("0").partition(".")[2]
    return dollars(amount, say.language, digits=max(2, len(decimals)))


def price(amount: Decimal | None, say: Say) -> str | None:
    """US dollars with all decimals, and at least two but for zero."""
    if amount is None:
        return None
    decimals = len(f"{amount.normalize():f}".partition(".")[2])
    return dollars(amount, say.language, digits=max(2, decimals) if amount else 0)


def cost(totals: UsageTotals, say: Say) -> str:
    """The total cost of calls: "unknown" without any price, with the number of unpriced calls if some have none; a dash
    without tokens."""
    if not (totals.total_tokens or totals.total_cost or totals.unpriced):
        return "–"
    if not totals.unpriced:
        return money(totals.total_cost, say) or ""
    if not totals.total_cost:
        return say("unknown")
    return f"{money(totals.total_cost, say)} {say('and_unknown', calls=totals.unpriced)}"


def cost_of_call(call: LlmCall, say: Say) -> str:
    """The cost of a call; "unknown" without a price, a dash without tokens."""
    if call.total_cost is None:
        return say("unknown") if call.prompt_tokens or call.completion_tokens else "–"
    return money(call.total_cost, say) or ""


def count(value: int | None, say: Say) -> str | None:
    return None if value is None else number(value, say.language)


def short_count(value: int, say: Say) -> str:
    """A few digits and a letter, for large type; from 10⁹ on the language's own word, as "B" is not 10⁹ in most."""
    if value >= _BILLION:
        return compact(value, say.language)
    for size, letter in ((1_000_000, "M"), (10_000, "k")):
        if value >= size:
            units = value / (1_000 if letter == "k" else size)
            return number(round(units, 1 if units >= 100 else 2), say.language) + letter
    return number(value, say.language)


def seconds(duration: float | None, say: Say) -> str | None:
    if duration is None:
        return None
    if duration < 1:
        return f"{duration * 1000:.0f} ms"
    if duration < _MINUTE:
        return f"{number(duration, say.language, digits=1)} s"
    return f"{duration // _MINUTE:.0f} min {duration % _MINUTE:.0f} s"


def speed(tokens_per_second: float | None, say: Say) -> str | None:
    if tokens_per_second is None:
        return None
    return number(tokens_per_second, say.language, digits=1 if tokens_per_second < 10 else 0)


def score(value: float | None, say: Say) -> str | None:
    """A score, a threshold or a kappa, with two decimals."""
    return None if value is None else number(value, say.language, digits=2)


def percent(part: float | None, say: Say) -> str | None:
    if part is None:
        return None
    return percentage(part, say.language, digits=1 if 0 < part < 0.1 else 0)


def trend(now: Decimal | float | None, before: Decimal | float | None) -> int | None:
    """1 for an increase, -1 for a decrease, 0 for a change of at most half a percent. None if a value is missing."""
    if now is None or before is None:
        return None
    difference = float(now) - float(before)
    return 0 if abs(difference) <= abs(float(before)) / 200 else 1 if difference > 0 else -1


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
        if (passed := int(seconds_ago // size)) >= least:
            return say(f"ago_{unit}", count=passed)
    return say("ago_now")


def size(value: int, say: Say) -> str:
    """A number of bytes."""
    for unit, scale in (("GB", 1_000**3), ("MB", 1_000**2), ("kB", 1_000)):
        if value >= scale:
            return f"{number(value / scale, say.language, digits=1 if value < 10 * scale else 0)} {unit}"
    return f"{value} B"


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


def for_templates() -> SimpleNamespace:
    """The functions for templates, which leave out `say`."""

    def in_language(function: Callable[[Any, Say], str | None]) -> Callable[..., str | None]:
        @pass_context
        def formatted(context: Context, value: Any) -> str | None:
            return function(value, context["say"])

        return formatted

    of_language = (money, price, count, short_count, seconds, speed, score, percent, size)
    others = (cost, cost_of_call, moment, ago, day_of, first_sentence, named)
    functions = {one.__name__: in_language(one) for one in of_language}
    return SimpleNamespace(**functions, **{one.__name__: one for one in others})
