"""Values of exports as the types that a reader expects: a value of another type counts as missing."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from threadkeeper.importing.model import BadConversation, Conversation, Message, Read, Unreadable
from threadkeeper.importing.package import BadPackage, Package
from threadkeeper.importing.reasons import Reason

# A larger number of seconds is one of milliseconds.
_MOST_SECONDS = 10**11
LONGEST_SHOWN_NAME = 120
UNKNOWN_FORM = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""What reading raises if values are not of the kind that the format has."""


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def moment(value: Any) -> datetime | None:
    """The time of a number of seconds or milliseconds, or of an ISO 8601 text (without a zone it is UTC). Exports write
    0 where they have no time."""
    try:
        seconds = float(value) if isinstance(value, str) and value.replace(".", "", 1).isdecimal() else number(value)
        if seconds is not None and seconds <= 0:
            return None
        if seconds is not None:
            return datetime.fromtimestamp(seconds / 1000 if abs(seconds) >= _MOST_SECONDS else seconds, UTC)
        found = datetime.fromisoformat(text(value))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def each(package: Package, entry: str, prefix: str, read: Callable[[Any], Conversation | None]) -> Iterator[Read]:
    """Each record of an entry as a conversation. One that cannot be read is named, and costs only itself."""
    try:
        for at, record in enumerate(package.records(entry, prefix), 1):
            yield from one(record, f"{entry} #{at}", read)
    except BadPackage as error:
        yield Unreadable(entry, Reason("import_reason_rest", {"reason": error.reason}))


def unknown_form(error: Exception) -> Reason:
    """The reason of a conversation that raised one of `UNKNOWN_FORM`."""
    return Reason("import_reason_unknown_form", {"detail": f"{type(error).__name__}: {error}"})


def one(record: Any, name: str, read: Callable[[Any], Conversation | None]) -> Iterator[Read]:
    """The record as a conversation; nothing if it has none."""
    try:
        found = read(record)
    except BadConversation as error:
        yield Unreadable(_name_of(record) or name, error.reason)
    except UNKNOWN_FORM as error:
        yield Unreadable(_name_of(record) or name, unknown_form(error))
    else:
        if found is not None:
            yield found


def _name_of(record: Any) -> str:
    fields = mapping(record)
    fields = {**fields, **mapping(fields.get("conversation"))}
    return next((name for key in ("title", "name", "id", "uuid") if (name := text(fields.get(key)))), "")[
        :LONGEST_SHOWN_NAME
    ]


def chain(parent: str | None, last_id: str, parts: Sequence[Message]) -> Sequence[Message]:
    """One message of a source that is several here, as a chain. The last one has the id of the source, so that what
    follows it finds it."""
    before = parent
    for at, part in enumerate(parts, 1):
        part.parent = before
        part.id = last_id if at == len(parts) else f"{last_id}/{at}"
        before = part.id
    return parts
