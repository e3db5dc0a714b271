"""Validates calls and payloads, and brings their values into the form in which they are stored.

Texts are cleaned. Numbers that are not valid (a negative count, a speed that is not a number, an infinite cost) are
refused, because they would make every sum wrong that contains them.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
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
    values: dict[str, Any] = {name: _maybe(clean_id, call, name) for name in _IDS}
    values |= {name: _maybe(lambda text, _what: clean_text(str(text)), call, name) for name in _TEXTS}
    values |= {name: _maybe(_count, call, name) for name in (*_COUNTS, *_CHARACTERS)}
    values |= {name: _maybe(_measure, call, name) for name in _MEASURES}
    values |= {name: _maybe(_cost, call, name) for name in _COSTS}
    # The server did not name its model.
    values["answered_by"] = values["answered_by"] or None
    if values["tokens_per_second"] is None:
        values["tokens_per_second"] = tokens_per_second(values["completion_tokens"], values["seconds"])
    return replace(
        call,
        id=clean_id(call.id, "id of a call"),
        kind=clean_text(call.kind),
        model=clean_text(call.model),
        requested_at=requested_at,
        responded_at=clean_time(call.responded_at, "time of an answer"),
        price=None if call.price is None else _object(call.price),
        # A tag that occurs twice would count the call twice.
        tags=tuple(dict.fromkeys(clean_text(str(tag)) for tag in call.tags)),
        **values,
    )


def clean_payload(payload: LlmCallPayload, call: LlmCall) -> LlmCallPayload:
    """The payload of this call as it is stored.

    Raises:
        InvalidRecord: it belongs to another call, or is nested too deeply.
    """
    if clean_id(payload.call_id, "id of a call") != call.id:
        raise InvalidRecord(f"the payload belongs to another call, {clean_text(str(payload.call_id))[:60]!r}")
    response = None if payload.response is None else clean_text(payload.response)
    return LlmCallPayload(call.id, clean_json(payload.messages), response)


def _maybe(clean: Any, call: LlmCall, name: str) -> Any:
    value = getattr(call, name)
    return None if value is None else clean(value, name.replace("_", " "))


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


def _object(value: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidRecord("price of a call is not a dictionary")
    return dict(clean_json(value))
