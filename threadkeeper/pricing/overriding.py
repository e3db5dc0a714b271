"""Which of the operator's prices override another one, as far as two patterns can be compared."""

from collections.abc import Sequence

from datalayer.billing.prices import compile_pattern
from datalayer.errors import InvalidRecord
from datalayer.records.usage import Price


def later_than(kept: Price, prices: Sequence[Price]) -> list[Price]:
    """The prices that override this one at a later time, as far as two patterns can be compared."""
    return [
        one
        for one in prices
        if one.is_active
        and one.valid_from > kept.valid_from
        and (None in (one.provider, kept.provider) or one.provider == kept.provider)
        and (_fits(one.pattern, kept.pattern) or _fits(kept.pattern, one.pattern))
    ]


def _fits(pattern: str, name: str) -> bool:
    """Whether the pattern matches this name, or is the same text."""
    try:
        return pattern.lower() == name.lower() or compile_pattern(pattern).fullmatch(name) is not None
    except InvalidRecord:
        # Another program may have stored an invalid pattern.
        return False
