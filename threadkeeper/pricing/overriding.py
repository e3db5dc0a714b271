"""Which of the operator's prices override another one, as far as two patterns can be compared."""

from collections.abc import Sequence
from itertools import takewhile

from datalayer.records.usage import Price
from threadkeeper.pricing.rates import compiled


def later_than(kept: Price, newest_first: Sequence[Price]) -> list[Price]:
    """The prices that override this one from their time on, as far as two patterns can be compared.

    Args:
        kept: one of the prices.
        newest_first: the prices in the order in which the first that matches a call is its price, as `list_prices`
            gives them: of the same time, the one that was stored last comes first.
    """
    return [
        one
        for one in takewhile(lambda one: one.id != kept.id, newest_first)
        if one.is_active
        and (None in (one.provider, kept.provider) or one.provider == kept.provider)
        and (_fits(one.pattern, kept.pattern) or _fits(kept.pattern, one.pattern))
    ]


def _fits(pattern: str, name: str) -> bool:
    """Whether the pattern matches this name, or is the same text."""
    if pattern.lower() == name.lower():
        return True
    # Another program may have stored an invalid pattern.
    known = compiled(pattern)
    return known is not None and known.fullmatch(name) is not None
