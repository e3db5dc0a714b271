"""Replaces values that a database cannot store, once, before a record is created.

Postgres stores neither NUL nor lone surrogates, and JSON neither NaN nor infinity. Such values are not refused, because
a replacement character is better than a message that fails for one pasted character.
"""

import hashlib
import math
import re
import time
import unicodedata
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from threading import Lock
from typing import Any

from datalayer.errors import InvalidRecord
from datalayer.records.chat import Thread

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
DEEPEST = 200
"""The deepest nesting of a value. Python's own JSON fails before a thousand levels."""
# Of some 3,900 decimal digits; Python turns no number of more than 4,300 into text.
_MOST_BITS = 13_000
# Tuples, because a union of types is made anew by each call; `dict` first, because an abstract class takes longer.
MAPPINGS = (dict, Mapping)
_NUMBERS = (int, float)
_CONTAINERS = (*MAPPINGS, list, tuple, set, frozenset)
# Nearly all ids and times are in the stored form already; those are returned unchanged.
_KEPT_ID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEPT_TIME = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}\.[0-9]{6}Z")
_KEPT_TIME_LENGTH = 27


def clean_text(text: str) -> str:
    """The text with NUL and lone surrogates replaced by U+FFFD."""
    if "\x00" in text:
        text = text.replace("\x00", REPLACEMENT)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # Two surrogates that are a pair in UTF-16 become the character they mean; the lone ones are replaced.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def name_key(identifier: str) -> str:
    """The form in which names of users are compared: without case, and with composed letters (Unicode's NFC).

    Full-width letters differ from others. `str.casefold` alone is not enough: it decomposes some letters.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", identifier).casefold())


def clean_json(value: Any, depth: int = 0) -> Any:
    """A copy that JSON and both engines can store; other values (a date, bytes, an object) become text.

    Raises:
        InvalidRecord: the value is nested deeper than `DEEPEST`, or a number has thousands of digits.
    """
    if isinstance(value, str):
        return clean_text(value)
    if value is None or value is True or value is False:
        return value
    if isinstance(value, _NUMBERS):
        return _clean_number(value)
    if isinstance(value, _CONTAINERS):
        if depth >= DEEPEST:
            raise InvalidRecord(f"a value is nested deeper than {DEEPEST} levels")
        if isinstance(value, MAPPINGS):
            pairs = ((key if isinstance(key, str) else str(key), item) for key, item in value.items())
            return {clean_text(key): clean_json(item, depth + 1) for key, item in pairs}
        return [clean_json(item, depth + 1) for item in value]
    return clean_text(str(value))


def _clean_number(value: int | float) -> int | float | None:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value.bit_length() > _MOST_BITS:
        raise InvalidRecord("a number has too many digits to be stored")
    return value


def hashed_id(text: str) -> str:
    """An id that depends on this text alone, so that a repeated write stores the same row."""
    return str(uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16]))


def clean_id(value: Any, what: str) -> str:
    """The id in the one form that both engines compare alike.

    Raises:
        InvalidRecord: the value is not a UUID.
    """
    known = known_id(value)
    if known is None:
        raise InvalidRecord(f"{what} {clean_text(str(value))[:60]!r} is not a UUID")
    return known


def known_id(value: Any) -> str | None:
    """The id in its stored form, or None if it is not a UUID."""
    text = str(value)
    if _KEPT_ID.fullmatch(text):
        return text
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def clean_time(value: Any, what: str) -> str | None:
    """An instant as `YYYY-MM-DDTHH:MM:SS.ffffffZ`, so that text order is time order. Without a zone it is UTC.

    Raises:
        InvalidRecord: the value is not an ISO 8601 time.
    """
    if value is None or value == "":
        return None
    if type(value) is str and is_kept_time(value):
        return value
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRecord(f"{what} {clean_text(str(value))[:60]!r} is not an ISO 8601 time") from None
    return _text_of(moment)


def is_kept_time(text: str) -> bool:
    """Whether the text is a time in the stored form."""
    return len(text) == _KEPT_TIME_LENGTH and _is_kept_time(text)


# A step repeats its times in each of its states.
@lru_cache(1_000)
def _is_kept_time(text: str) -> bool:
    if _KEPT_TIME.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _text_of(moment: datetime) -> str:
    """The moment, which is in UTC."""
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


# By how much a corrected clock may step back without a time that is before an earlier one.
_MOST_STILL_MICROS = 60_000_000
# Set by nobody; and where there is such a clock, it goes on while the machine sleeps.
_steady_ns: Callable[[], int] = (
    partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns
)


class _Clock:
    """UTC now, never the same instant twice in one process, so that what came later also sorts later.

    It is the time of this machine, unless `correct` made it that of the database: then several replicas, whose clocks
    differ, date the messages of a thread in their order.
    """

    def __init__(self) -> None:
        self._beyond_steady: int | None = None
        self._last = 0
        self._second = 0
        self._prefix = ""
        self._lock = Lock()

    def correct(self, seconds: float | None) -> None:
        """Be so many seconds ahead of this machine's clock from now on, also if that is set; None: follow it."""
        with self._lock:
            beyond = None if seconds is None else time.time_ns() + int(seconds * 1e9) - _steady_ns()
            self._beyond_steady = beyond
            if self._last - self.nanoseconds() // 1000 > _MOST_STILL_MICROS:
                # Otherwise time would stand still until a clock that was far ahead is caught up with.
                self._last = 0

    def nanoseconds(self) -> int:
        """Since 1970."""
        return time.time_ns() if self._beyond_steady is None else _steady_ns() + self._beyond_steady

    def __call__(self) -> str:
        with self._lock:
            micros = self._last = max(self.nanoseconds() // 1000, self._last + 1)
            second, fraction = divmod(micros, 1_000_000)
            if second != self._second:
                # Formatting the second once for all its instants saves most of the time of a call.
                self._second = second
                self._prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
            return f"{self._prefix}{fraction:06d}Z"


utc_now = _Clock()


def machine_seconds() -> float:
    """Since 1970, by this machine's clock."""
    return time.time_ns() / 1e9


def utc_in(seconds: float) -> str:
    """The time this many seconds from now."""
    return _text_of(datetime.fromtimestamp(utc_now.nanoseconds() / 1e9, UTC) + timedelta(seconds=seconds))


def clean_thread(
    thread_id: str,
    *,
    name: str | None = None,
    user_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    tags: list[str] | None = None,
) -> Thread:
    """The fields of a thread that are stored. A name of blanks alone becomes empty.

    Raises:
        InvalidRecord: an id is not a UUID.
    """
    return Thread(
        id=clean_id(thread_id, "thread id"),
        name=None if name is None else clean_text(str(name)) if str(name).strip() else "",
        user_id=user_id,
        metadata=None if metadata is None else clean_json(metadata),
        tags=None if tags is None else [clean_text(str(tag)) for tag in tags],
    )
