"""Validates calls and payloads, and brings their values into the form in which they are stored.

Texts are cleaned. Numbers that are not valid (a negative count, a speed that is not a number, an infinite cost) are
refused, because they would make every sum wrong that contains them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from operator import attrgetter
from typing import Any

from datalayer.cleaning import clean_id, clean_json, clean_text, clean_time
from datalayer.errors import InvalidRecord
from datalayer.records.usage import LlmCall, LlmCallPayload, tokens_per_second

LARGEST_COUNT = 10**12
"""Tokens or characters of one call. The sum of millions of such calls fits into the integers of both engines."""
LARGEST_COST = Decimal(9_000_000)
"""US dollars for one call."""
_SMALLEST = Decimal("1E-12")
_IDS = ("project_id", "user_id", "thread_id", "step_id", "key_id")
_TEXTS = (
    *("provider", "deployment", "assistant", "answered_by", "error_kind", "error_message", "finish_reason"),
    *("library", "operating_system"),
)
_COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
_CHARACTERS = ("query_characters", "response_characters")
_MEASURES = ("seconds", "first_token_seconds", "tokens_per_second")
_COSTS = ("input_cost", "output_cost", "total_cost")


def clean_call(call: LlmCall) -> LlmCall:
    """The call as it is stored, with its speed if tokens and seconds are known.

    Raises:
        InvalidRecord: a field is not valid.
    """
    requested_at = clean_time(call.requested_at, "time of a call")
    if requested_at is None:
        raise InvalidRecord("a call needs requested_at, the time of the request")
    if not call.kind or not call.model:
        raise InvalidRecord("a call needs a kind and a model")
    if not 1 <= _whole(call.attempt, "attempt") < 2**31:
        raise InvalidRecord("attempt of a call must be 1 or more")
    if call.status_code is not None and not 100 <= _whole(call.status_code, "status code") <= 999:
        raise InvalidRecord("status code of a call must have three digits")
    version = call.assistant_version
    if version is not None and not 1 <= _whole(version, "version of the assistant") < 2**31:
        raise InvalidRecord("version of the assistant of a call must be 1 or more")
    # What differs from what it was. Nearly nothing does, and a copy takes longer than the rest of this.
    changed: dict[str, Any] = {}
    for value, (name, clean, what) in zip(_values_of(call), _CLEANED, strict=True):
        if value is not None and (cleaned := clean(value, what)) is not value:
            changed[name] = cleaned
    if requested_at is not call.requested_at:
        changed["requested_at"] = requested_at
    if changed.get("answered_by", call.answered_by) == "":
        # The server did not name its model.
        changed["answered_by"] = None
    if call.tags != ():
        # A tag that occurs twice would count the call twice.
        changed["tags"] = tuple(dict.fromkeys(clean_text(str(tag)) for tag in call.tags))
    kept = replace(call, **changed) if changed else call
    speed = tokens_per_second(kept.completion_tokens, kept.seconds) if kept.tokens_per_second is None else None
    return kept if speed is None else replace(kept, tokens_per_second=speed)


def clean_payload(payload: LlmCallPayload, call: LlmCall) -> LlmCallPayload:
    """The payload of this call as it is stored.

    Raises:
        InvalidRecord: it belongs to another call, or is nested too deeply.
    """
    if clean_id(payload.call_id, "id of a call") != call.id:
        raise InvalidRecord(f"the payload belongs to another call, {clean_text(str(payload.call_id))[:60]!r}")
    response = None if payload.response is None else clean_text(payload.response)
    return LlmCallPayload(call.id, clean_json(payload.messages), response)


def _whole(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRecord(f"{what} of a call is not a whole number: {clean_text(str(value))[:60]!r}")
    return value


def _count(value: Any, what: str) -> int:
    if not 0 <= _whole(value, what) <= LARGEST_COUNT:
        raise InvalidRecord(f"{what} of a call must be from 0 to {LARGEST_COUNT:,}")
    return int(value)


def _measure(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InvalidRecord(f"{what} of a call is {clean_text(str(value))[:60]}, which is not a number of 0 or more")
    return float(value)


def _cost(value: Any, what: str) -> Decimal:
    try:
        cost = value if isinstance(value, Decimal) else Decimal(str(value))
        if 0 <= cost < LARGEST_COST:
            # Rounded here, because the engines round differently. Adding 0 turns -0 into 0.
            return cost.quantize(_SMALLEST) + 0
    except InvalidOperation:
        pass
    raise InvalidRecord(
        f"{what} of a call is {clean_text(str(value))[:60]}, which is not an amount from 0 to {LARGEST_COST:,} dollars"
    )


def _object(value: Any, _what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidRecord("price of a call is not a dictionary")
    return dict(clean_json(value))


def _text(value: Any, _what: str) -> str:
    return clean_text(str(value))


# Fields, what cleans each, and its name in an error.
_CLEANED: tuple[tuple[str, Callable[[Any, str], Any], str], ...] = tuple(
    (name, clean, {"id": "id of a call", "responded_at": "time of an answer"}.get(name, name.replace("_", " ")))
    for clean, names in (
        (clean_id, ("id", *_IDS)),
        (_text, ("kind", "model", *_TEXTS)),
        (_count, (*_COUNTS, *_CHARACTERS)),
        (_measure, _MEASURES),
        (_cost, _COSTS),
        (_object, ("price",)),
        (clean_time, ("responded_at",)),
    )
    for name in names
)
_values_of = attrgetter(*(name for name, _, _ in _CLEANED))
