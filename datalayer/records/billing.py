"""Frozen records of models, limits and repricing, for admins. Amounts and times are as in `records/usage.py`."""

from dataclasses import dataclass
from decimal import Decimal

from datalayer.records.usage import Limit


@dataclass(frozen=True, slots=True)
class LimitUse:
    """A limit, whose it is, and its current use in the period that ends at `ends_at`.

    `subject` is the name of the user, project or key, and `known_as` the slug of the project or the prefix of the key;
    None for each user, or if it was deleted. `used` and `in_flight` are as in `LimitStanding`, None for each user.
    """

    limit: Limit
    subject: str | None
    known_as: str | None
    used: Decimal | None
    in_flight: Decimal | None
    ends_at: str

    @property
    def left(self) -> Decimal | None:
        """The amount left for further calls, 0 or more."""
        if self.used is None or self.in_flight is None:
            return None
        return max(self.limit.amount - self.used - self.in_flight, Decimal(0))


@dataclass(frozen=True, slots=True)
class LimitPage:
    """A page of limits, oldest first. `next_cursor` is None on the last page."""

    uses: tuple[LimitUse, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class CalledModel:
    """The calls with tokens to a model of a provider that were answered under one name.

    `unpriced` of them have no known cost, the first of these at `unpriced_since`.
    """

    model: str
    provider: str | None
    answered_by: str | None
    calls: int
    unpriced: int
    last_at: str
    unpriced_since: str | None = None


@dataclass(frozen=True, slots=True)
class ModelRepricing:
    """The changes of a repricing of one model and provider. The fields are as of `Repricing`."""

    model: str
    provider: str | None
    changed: int = 0
    had_none: int = 0
    before: Decimal = Decimal(0)
    after: Decimal = Decimal(0)
    unlisted: int = 0
    unlisted_cost: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Repricing:
    """The changes of a repricing, planned or made.

    `calls` with tokens were recalculated; `without_tokens` were left out. `changed` of them get another cost, and
    `had_none` of those had no cost before. `before` and `after` are the sums of the costs of changed calls.

    `unlisted` calls have a cost but no price matches them now. They keep the cost or lose it; `unlisted_cost` is its
    sum.

    `by_model` has the models with changed or unlisted calls, those with most of them first. Two repricings with the
    same `fingerprint` make the same changes to the same calls.
    """

    calls: int = 0
    without_tokens: int = 0
    changed: int = 0
    had_none: int = 0
    before: Decimal = Decimal(0)
    after: Decimal = Decimal(0)
    unlisted: int = 0
    unlisted_cost: Decimal = Decimal(0)
    by_model: tuple[ModelRepricing, ...] = ()
    fingerprint: str = ""
