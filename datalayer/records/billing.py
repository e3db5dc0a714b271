"""Frozen records of what admins see of models and limits. Times are as in `records/usage.py`."""

from dataclasses import dataclass


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
