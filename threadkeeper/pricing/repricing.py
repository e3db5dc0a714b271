"""Recalculates the costs of stored calls by today's prices, for the command and the pages."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Protocol

from datalayer.billing.repricing import CostOf
from datalayer.records.billing import Repricing
from datalayer.records.usage import LlmCall, Price
from threadkeeper.pricing.history import ChatServer
from threadkeeper.pricing.rates import Costs, costs_of

Progressed = Callable[[Repricing], None]


class RepricingStore(Protocol):
    """What is needed of the data layer."""

    async def list_prices(self) -> list[Price]: ...
    async def last_answered_by_each(self, models: Sequence[str], provider: str) -> dict[str, str]: ...
    async def reprice(
        self,
        since: str,
        cost_of: CostOf,
        *,
        until: str | None = None,
        models: Sequence[str] = (),
        forget: bool = False,
        dry_run: bool = True,
        progressed: Progressed = ...,
    ) -> Repricing: ...


async def reprice(
    store: RepricingStore,
    server: ChatServer,
    since: str,
    *,
    until: str | None = None,
    models: Sequence[str] = (),
    forget: bool = False,
    dry_run: bool = True,
    own: Sequence[Price] | None = None,
    progressed: Progressed = lambda _done: None,
) -> Repricing:
    """Recalculate costs as `Billing.reprice` does, by the prices that are known today.

    Args:
        store: of the calls and prices.
        server: of the chat. A call stores only the host of its server, but some published prices are for one path.
        since, until, models, forget, dry_run, progressed: as of `Billing.reprice`.
        own: the operator's prices, the newest first; by default those that are stored now.

    Raises:
        InvalidRecord: a time is missing or not valid.
    """
    prices = await store.list_prices() if own is None else own
    behind = await _models_behind(store, since, until, models)

    def cost_of(call: LlmCall) -> Costs | None:
        name = call.answered_by or behind.get((call.model, call.provider or ""))
        return costs_of(replace(call, answered_by=name), prices, server.address_for(call.provider))

    return await store.reprice(
        since, cost_of, until=until, models=models, forget=forget, dry_run=dry_run, progressed=progressed
    )


def digest_of_published(server: ChatServer) -> str:
    """Another one, if calls may have other published prices: of another version of the table, or of another server."""
    return hashlib.sha256(f"{version('genai-prices')} {server!r}".encode()).hexdigest()


async def _models_behind(
    store: RepricingStore, since: str, until: str | None, models: Sequence[str]
) -> dict[tuple[str, str], str]:
    """What answered last under the names of calls whose server did not name its model, by model and provider.

    These are answers that broke off early, and those of Azure that older versions stored with an empty name.
    """
    unnamed = defaultdict[str, set[str]](set)

    def look(call: LlmCall) -> None:
        if not call.answered_by:
            unnamed[call.provider or ""].add(call.model)

    await store.reprice(since, look, until=until, models=models)
    found: dict[tuple[str, str], str] = {}
    for provider, names in unnamed.items():
        answered = await store.last_answered_by_each(sorted(names), provider)
        found |= {(name, provider): by for name, by in answered.items()}
    return found
