"""What the commands of money work with: prices, projects, limits and calls of one database."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar
from zoneinfo import ZoneInfo

from datalayer.accounts.accounts import Accounts
from datalayer.billing.billing import Billing
from datalayer.cleaning import clean_time
from datalayer.errors import InvalidRecord
from datalayer.usage.usage import Usage
from threadkeeper.commands.terminal import end, with_layer
from threadkeeper.settings.settings import Settings

T = TypeVar("T")


class UsageStore(Accounts, Billing, Usage):
    """Accounts, and what they used."""


def with_usage(settings: Settings, work: Callable[[UsageStore], Awaitable[T]]) -> T:
    """What the work gives; where the data layer refuses, the end, in words."""
    return with_layer(UsageStore, settings, work)


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


def time_of(text: str, what: str, zone: str) -> str:
    """The time that the text says, as it is kept, or the end. Without a zone of its own it is of this one."""
    try:
        return time_in(text, zone)
    except InvalidRecord:
        end(f"{what} must be a date, as in 2026-03-01 or 2026-03-01T12:00:00Z; it is {text!r}.", 1)


def time_in(text: str, zone: str) -> str:
    """The time that the text says, as it is kept: a day begins, and a clock without a zone goes, as in this zone.

    Raises:
        InvalidRecord: it is no time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    kept = clean_time(moment.replace(tzinfo=moment.tzinfo or ZoneInfo(zone)) if moment else text, "time")
    if kept is None:
        raise InvalidRecord("there is no time")
    return kept


def said_in(moment: str, zone: str) -> str:
    """A kept time, for a person in this zone: to the second, with the zone's distance from UTC."""
    return datetime.fromisoformat(moment).astimezone(ZoneInfo(zone)).isoformat(" ", "seconds")
