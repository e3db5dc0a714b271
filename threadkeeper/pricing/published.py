"""The table of published prices that ships with genai-prices, as a list for people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, TieredPrices


@dataclass(frozen=True, slots=True)
class PublishedPrice:
    """US dollars per million tokens. `since` is None if the table does not tell the first day.

    `is_stepped`: long questions cost more; these are the prices of short ones.
    """

    provider: str
    provider_name: str
    model: str
    input: Decimal
    output: Decimal | None
    cached: Decimal | None
    since: date | None
    is_stepped: bool


def published_prices(when: datetime) -> tuple[PublishedPrice, ...]:
    """The prices of this day, by provider and model. Models without a price per token are left out."""
    return _of_day(when.astimezone(UTC).date())


@lru_cache(maxsize=1)
def _of_day(day: date) -> tuple[PublishedPrice, ...]:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - a table of 1.6 MB

    moment = datetime.combine(day, time(), UTC)
    found = []
    for provider in get_snapshot().providers:
        for model in provider.models:
            prices = model.get_prices(moment)
            if prices.input_mtok is None:
                continue
            amounts = (prices.input_mtok, prices.output_mtok, prices.cache_read_mtok)
            found.append(
                PublishedPrice(
                    provider.id,
                    provider.name,
                    model.id,
                    _least(prices.input_mtok),
                    None if prices.output_mtok is None else _least(prices.output_mtok),
                    None if prices.cache_read_mtok is None else _least(prices.cache_read_mtok),
                    max((one for one in start_days(model) if one <= day), default=None),
                    any(not isinstance(one, Decimal) for one in amounts if one is not None),
                )
            )
    return tuple(sorted(found, key=lambda one: (one.provider_name.lower(), one.model.lower())))


def start_days(model: ModelInfo) -> list[date]:
    """The days, in UTC, on which the published price of the model changed."""
    from genai_prices.types import StartDateConstraint  # noqa: PLC0415

    if not isinstance(model.prices, list):
        return []
    constraints = (one.constraint for one in model.prices)
    return sorted({one.start_date for one in constraints if isinstance(one, StartDateConstraint)})


def _least(price: Decimal | TieredPrices) -> Decimal:
    return price if isinstance(price, Decimal) else price.base
