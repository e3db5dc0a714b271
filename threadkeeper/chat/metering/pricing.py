"""What a call costs: its tokens, times the price that held when it was made.

The operator's own prices win: the newest active one, of those valid at that time, that is for the provider and the
model. Then the table that ships with genai-prices, for a provider that it knows by its name or its address; nothing is
fetched. A model that neither knows has no price, and what it costs is unknown: a name alone is no reason to believe
that a server of one's own charges what another one does.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from datalayer.billing.prices import LONGEST_NAME, compile_pattern
from datalayer.errors import InvalidRecord
from datalayer.records.usage import LlmCall, Price, plain_amount

if TYPE_CHECKING:
    from genai_prices.types import TieredPrices

logger = logging.getLogger(__name__)

_MILLION = Decimal(1_000_000)
_SMALLEST = Decimal("1E-12")
_NOTHING = Decimal(0)
_NAMED = ("openai", "azure")


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars for a million tokens of each kind, for each image sent, and for the request itself."""

    source: str
    input: Decimal
    output: Decimal
    cached: Decimal
    image: Decimal = _NOTHING
    request: Decimal = _NOTHING

    def costs(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0, images: int = 0) -> Costs:
        """Cached tokens are a part of the prompt's. Exact to 10^-12 dollars."""
        cached = min(cached_tokens, prompt_tokens)
        for_input = (
            (self.input * (prompt_tokens - cached) + self.cached * cached) / _MILLION
            + self.image * images
            + self.request
        ).quantize(_SMALLEST)
        for_output = (self.output * completion_tokens / _MILLION).quantize(_SMALLEST)
        return Costs(for_input, for_output, self._stored(images))

    def _stored(self, images: int) -> dict[str, Any]:
        """The price as it is stored with a call."""
        price: dict[str, Any] = {
            "source": self.source,
            "input": plain_amount(self.input),
            "cached": plain_amount(self.cached),
            "output": plain_amount(self.output),
        }
        if self.image:
            price["image"] = plain_amount(self.image)
        if images:
            # Also where they cost nothing: tomorrow's price may be for each of them.
            price["images"] = images
        return price | ({"request": plain_amount(self.request)} if self.request else {})


@dataclass(frozen=True, slots=True)
class Costs:
    """The cost of a call in US dollars, and the price it was computed from."""

    input: Decimal
    output: Decimal
    price: dict[str, Any]

    @property
    def total(self) -> Decimal:
        return self.input + self.output


def rates_of(
    own: Sequence[Price],
    *,
    model: str,
    when: str,
    provider: str | None = None,
    answered_by: str | None = None,
    base_url: str | None = None,
    prompt_tokens: int = 0,
) -> Rates | None:
    """The price of a call, or None where nobody knows it.

    Args:
        own: the operator's prices, the newest first.
        model: the one asked for; an operator's price may be for its name or for that of `answered_by`.
        when: the time of the call.
        provider: who answered.
        answered_by: the model as the provider names it.
        base_url: the provider's address, for one who is nobody's known by name.
        prompt_tokens: some models cost more from a number of them on.
    """
    names = [model] if answered_by in (None, model) else [model, str(answered_by)]
    for price in own:
        if price.is_active and price.valid_from <= when and price.provider in (None, provider):
            pattern = _compiled(price.pattern)
            if pattern is not None and any(len(name) <= LONGEST_NAME and pattern.fullmatch(name) for name in names):
                cached = price.input if price.cached is None else price.cached
                return Rates(f"own {price.id}", price.input, price.output, cached, price.image or _NOTHING)
    # What answered is what is billed: at Azure, the model asked for is the name of a deployment.
    for name in reversed(names):
        found = _published(name, provider, base_url, datetime.fromisoformat(when).astimezone(UTC), prompt_tokens)
        if found is not None:
            return found
    return None


def costs_of(call: LlmCall, own: Sequence[Price], base_url: str | None = None) -> Costs | None:
    """What a call that is kept costs by the prices of today's knowledge; None for one without tokens or price."""
    if call.prompt_tokens is None:
        return None
    rates = rates_of(
        own,
        model=call.model,
        when=call.requested_at,
        provider=call.provider,
        answered_by=call.answered_by,
        base_url=base_url,
        prompt_tokens=call.prompt_tokens,
    )
    if rates is None:
        return None
    images = int((call.price or {}).get("images", 0))
    return rates.costs(call.prompt_tokens, call.completion_tokens or 0, call.cached_tokens or 0, images)


def load_published() -> None:
    """Load the table, which takes a tenth of a second."""
    _published("gpt-4o-mini", "openai", None, datetime.now(UTC), 0)


@lru_cache(maxsize=1_000)
def _compiled(pattern: str) -> Any:
    try:
        return compile_pattern(pattern)
    except InvalidRecord as error:
        # Another program may have written it.
        logger.warning("a price is left out: %s", error)
        return None


def _published(
    model: str, provider: str | None, base_url: str | None, when: datetime, prompt_tokens: int
) -> Rates | None:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - a table of 1.6 MB

    try:
        if provider in _NAMED:
            _, known = get_snapshot().find_provider_model(model, None, provider, None)
        else:
            address = base_url or (f"https://{provider}" if provider else None)
            if address is None or not urlsplit(address).hostname:
                return None
            _, known = get_snapshot().find_provider_model(model, None, None, address)
    except LookupError:
        return None
    prices = known.get_prices(when)
    for_input, for_output = prices.input_mtok, prices.output_mtok
    if for_input is None or for_output is None:
        return None
    cached = prices.cache_read_mtok
    per_thousand = _rate(prices.requests_kcount, prompt_tokens) if prices.requests_kcount is not None else _NOTHING
    return Rates(
        f"genai-prices {_table()}",
        _rate(for_input, prompt_tokens),
        _rate(for_output, prompt_tokens),
        _rate(for_input if cached is None else cached, prompt_tokens),
        request=per_thousand / 1000,
    )


@lru_cache(maxsize=1)
def _table() -> str:
    return version("genai-prices")


def _rate(price: Decimal | TieredPrices, prompt_tokens: int) -> Decimal:
    """Who crosses a tier pays its price for all tokens."""
    if isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if prompt_tokens > tier.start]
    return reached[-1] if reached else price.base
