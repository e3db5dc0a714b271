"""What the commands of money work with: prices, projects, limits and calls of one database."""

import uuid
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from datalayer.accounts import Accounts
from datalayer.billing import Billing
from datalayer.cleaning import clean_time
from datalayer.errors import InvalidRecord
from datalayer.usage import Usage
from threadkeeper.commands.terminal import end, with_layer
from threadkeeper.settings import Settings

T = TypeVar("T")


class Books(Accounts, Billing, Usage):
    """Accounts, and what they used."""


def with_books(settings: Settings, work: Callable[[Books], Awaitable[T]]) -> T:
    """What the work gives; where the data layer refuses, the end, in words."""
    return with_layer(Books, settings, work)


def new_id() -> str:
    return str(uuid.uuid4())


def amount_of(text: str, what: str) -> Decimal:
    """The number that the text says, or the end."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        end(f"{what} must be a number, as in 0.15; it is {text!r}.", 1)
    if not amount.is_finite() or amount < 0:
        end(f"{what} must be a number that is not less than 0.", 1)
    return amount


def time_of(text: str, what: str) -> str:
    """The time that the text says (without a zone: UTC), or the end."""
    try:
        moment = clean_time(text, "time")
    except InvalidRecord:
        moment = None
    if moment is None:
        end(f"{what} must be a date, as in 2026-03-01 or 2026-03-01T12:00:00Z; it is {text!r}.", 1)
    return moment
