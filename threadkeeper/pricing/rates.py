"""Computes the cost of a call: its tokens times the price that was valid at the time of the call.

The operator's own prices come first: of the active prices for the provider and the model that were valid then, the
newest. Next comes the table that ships with genai-prices, for providers that it knows by name or by URL; nothing is
fetched. Otherwise the cost is unknown: a model of the same name on another server may have another price.
"""

from __future__ import annotations

import logging
import re
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
from datalayer.records.usage import EMBEDDED_PROVIDER, LlmCall, Price, plain_amount

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, TieredPrices

logger = logging.getLogger(__name__)

_MILLION = Decimal(1_000_000)
_SMALLEST = Decimal("1E-12")
_NOTHING = Decimal(0)
_OWN = "own "
_NAMED = ("openai", "azure")
# Of a service tier that costs what the model costs without one.
_STANDARD_TIERS = ("", "auto", "default", "standard", "standard_only")
# A model that embeds has no answer, and so no price for one.
_EMBEDS = re.compile("embed", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices in US dollars: per million tokens of each kind, per image sent, and per request."""

    source: str
    input: Decimal
    output: Decimal
    cached: Decimal
    image: Decimal = _NOTHING
    request: Decimal = _NOTHING
    service_tier: str | None = None
    """Of the call, if it is not the standard one. An operator's own price holds for every tier, and says so."""
    is_of_tier: bool = False

    @property
    def own_id(self) -> str | None:
        """The id of the operator's price; None if it is a published one."""
        return self.source.removeprefix(_OWN) if self.source.startswith(_OWN) else None

    def costs(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0, images: int = 0) -> Costs:
        """The cost, exact to 10^-12 dollars. Cached tokens are included in `prompt_tokens`."""
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
        if self.service_tier is not None:
            price |= {"service_tier": self.service_tier, "is_of_tier": self.is_of_tier}
        if self.image:
            price["image"] = plain_amount(self.image)
        if images:
            # Stored even if pictures cost nothing, because a later price may be per picture.
            price["images"] = images
        return price | ({"request": plain_amount(self.request)} if self.request else {})


# A model that runs on this machine costs nothing, and its calls say so.
_FREE = Rates(EMBEDDED_PROVIDER, _NOTHING, _NOTHING, _NOTHING)


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
    service_tier: str | None = None,
) -> Rates | None:
    """The price of a call, or None if it is unknown: also if the published price is none of its service tier.

    Args:
        own: the operator's prices, the newest first.
        model: the requested model. An operator's price can be for this name or for `answered_by`.
        when: the time of the call.
        provider: the provider's name.
        answered_by: the model's name in the provider's answer.
        base_url: the provider's URL, for a provider whose name the table does not know.
        prompt_tokens: some models have a higher price above a number of tokens.
        service_tier: as the provider names it: "flex", "priority", "batch".
    """
    tier = tier_of(service_tier)
    if provider == EMBEDDED_PROVIDER:
        return _FREE
    names = names_of(model, answered_by)
    for price in own:
        if price.is_active and price.valid_from <= when and is_for(price, names, provider):
            cached = price.input if price.cached is None else price.cached
            image = price.image or _NOTHING
            return Rates(f"{_OWN}{price.id}", price.input, price.output, cached, image, service_tier=tier)
    # The provider bills the model that answered. On Azure, the requested name is that of a deployment.
    for name in reversed(names):
        moment = datetime.fromisoformat(when).astimezone(UTC)
        found = _published(name, provider, base_url, moment, prompt_tokens, tier=tier)
        if found is not None:
            return found
    return None


def names_of(model: str, answered_by: str | None) -> list[str]:
    """The names of the model of a call: the requested one, then the one that answered if that is another."""
    return [model] if not answered_by or answered_by == model else [model, answered_by]


def is_for(price: Price, names: Sequence[str], provider: str | None) -> bool:
    """Whether the operator's price is for calls of this provider to a model with one of these names."""
    pattern = compiled(price.pattern) if price.provider in (None, provider) else None
    return pattern is not None and any(len(name) <= LONGEST_NAME and pattern.fullmatch(name) for name in names)


def tier_of(named: object) -> str | None:
    """A service tier with prices of its own; None for the standard one."""
    tier = named.strip().lower() if isinstance(named, str) else ""
    return None if tier in _STANDARD_TIERS else tier[:LONGEST_NAME]


def costs_of(call: LlmCall, own: Sequence[Price], base_url: str | None = None) -> Costs | None:
    """The cost of a stored call by the prices that are known now; None without tokens or a known price."""
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
        service_tier=(call.price or {}).get("service_tier"),
    )
    if rates is None:
        return None
    images = int((call.price or {}).get("images", 0))
    return rates.costs(call.prompt_tokens, call.completion_tokens or 0, call.cached_tokens or 0, images)


def load_published() -> None:
    """Load the table of genai-prices, which takes 0.1 s."""
    _published("gpt-4o-mini", "openai", None, datetime.now(UTC), 0, tier=None)


def compile_patterns(own: Sequence[Price]) -> None:
    """Compile the patterns of these prices, if they are not cached yet; one takes 0.15 ms."""
    for price in own:
        compiled(price.pattern)


@lru_cache(maxsize=10_000)
def compiled(pattern: str) -> re.Pattern[str] | None:
    """The compiled pattern of a price; None if it is not valid. It is cached: each call looks through all prices."""
    try:
        return compile_pattern(pattern)
    except InvalidRecord as error:
        # Another program may have stored an invalid pattern.
        logger.warning("a price is left out: %s", error)
        return None


def _published(
    name: str, provider: str | None, base_url: str | None, when: datetime, prompt_tokens: int, *, tier: str | None
) -> Rates | None:
    known = published_model(name, provider, base_url)
    if known is None:
        return None
    context = _context_of(tier)
    if context is not None and not _has_prices(known, context, when):
        # The price of another tier would be wrong.
        return None
    prices = known.get_prices(when, context)
    for_input, for_output = prices.input_mtok, prices.output_mtok
    if for_output is None and _EMBEDS.search(name):
        for_output = _NOTHING
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
        service_tier=tier,
        is_of_tier=tier is not None,
    )


def published_model(name: str, provider: str | None, base_url: str | None) -> ModelInfo | None:
    """The model in the table of genai-prices; None if the table does not know it or its provider."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - a table of 1.6 MB

    try:
        if provider in _NAMED:
            return get_snapshot().find_provider_model(name, None, provider, None)[1]
        address = base_url or (f"https://{provider}" if provider else None)
        if address is None or not urlsplit(address).hostname:
            return None
        return get_snapshot().find_provider_model(name, None, None, address)[1]
    except LookupError:
        return None


def _context_of(tier: str | None) -> dict[str, str] | None:
    """The tier as the table selects its prices."""
    if tier is None:
        return None
    return {"processing": "batch"} if tier == "batch" else {"service_tier": tier}


def _has_prices(known: ModelInfo, context: dict[str, str], when: datetime) -> bool:
    """Whether the table has prices of the model for this context at this time."""
    return any(
        variant.when == context and (variant.constraint is None or variant.constraint.active(when))
        for variant in known.price_variants or ()
    )


@lru_cache(maxsize=1)
def _table() -> str:
    return version("genai-prices")


def _rate(price: Decimal | TieredPrices, prompt_tokens: int) -> Decimal:
    """The price at this number of tokens: that of the highest tier reached, for all tokens."""
    if isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if prompt_tokens > tier.start]
    return reached[-1] if reached else price.base
