"""Which price a model has, and had: the same answer as for a call of that time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time

from datalayer.cleaning import clean_time
from datalayer.records.billing import CalledModel
from datalayer.records.usage import Price
from threadkeeper.pricing.published import start_days
from threadkeeper.pricing.rates import Rates, is_for, names_of, published_model, rates_of

_BEGINNING = "0001-01-01T00:00:00.000000Z"


@dataclass(frozen=True, slots=True)
class ChatServer:
    """The server of the chat. The address decides which published prices it has, where its host does not."""

    provider: str = ""
    base_url: str | None = None

    def address_for(self, provider: str | None) -> str | None:
        """The address of calls of this provider, which have its name alone."""
        return self.base_url if provider == self.provider else None


@dataclass(frozen=True, slots=True)
class Named:
    """A model of a provider, with the names under which it answers. The first name answered last."""

    model: str
    provider: str | None
    answered_by: tuple[str, ...] = ()
    calls: int = 0
    unpriced: int = 0
    unpriced_since: str | None = None

    @property
    def names(self) -> list[str]:
        """All names for which a price can be."""
        return [self.model, *(one for one in self.answered_by if one != self.model)]


def named_models(called: Sequence[CalledModel]) -> list[Named]:
    """The models of calls, each once for a provider, in the order of the calls."""
    groups: dict[tuple[str, str | None], list[CalledModel]] = {}
    for one in called:
        groups.setdefault((one.model, one.provider), []).append(one)
    found = []
    for (model, provider), ones in groups.items():
        newest_first = sorted(ones, key=lambda one: one.last_at, reverse=True)
        found.append(
            Named(
                model,
                provider,
                tuple(dict.fromkeys(one.answered_by for one in newest_first if one.answered_by)),
                sum(one.calls for one in ones),
                sum(one.unpriced for one in ones),
                min((one.unpriced_since for one in ones if one.unpriced_since), default=None),
            )
        )
    return found


def price_of(named: Named, own: Sequence[Price], server: ChatServer, when: str) -> Rates | None:
    """The price of a call of this time to the model; None without one."""
    return rates_of(
        own,
        model=named.model,
        when=when,
        provider=named.provider,
        answered_by=named.answered_by[0] if named.answered_by else None,
        base_url=server.address_for(named.provider),
    )


@dataclass(frozen=True, slots=True)
class Validity:
    """The price of a model from `since` to before `until`; None is without an end. `rates` is None without a price."""

    rates: Rates | None
    since: str | None
    until: str | None


def price_history(named: Named, own: Sequence[Price], server: ChatServer) -> list[Validity]:
    """Which price the model has had at each time, and will have, the newest first."""
    newest = named.answered_by[0] if named.answered_by else None
    names = names_of(named.model, newest)
    edges = {one.valid_from for one in own if one.is_active and is_for(one, names, named.provider)}
    for name in names:
        known = published_model(name, named.provider, server.address_for(named.provider))
        if known is not None:
            edges |= {clean_time(datetime.combine(day, time(), UTC), "time") or "" for day in start_days(known)}
    found: list[Validity] = []
    until: str | None = None
    # From the newest to the oldest: what has the same price as the time after it is one with it.
    for edge in sorted({_BEGINNING, *edges}, reverse=True):
        rates = price_of(named, own, server, edge)
        since = None if edge == _BEGINNING else edge
        if found and found[-1].rates == rates:
            found[-1] = Validity(rates, since, found[-1].until)
        else:
            found.append(Validity(rates, since, until))
        until = edge
    return found
