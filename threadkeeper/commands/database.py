"""Shared by the commands for prices, projects and limits: the database and the parsing of amounts and times."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar
from zoneinfo import ZoneInfo

from datalayer.accounts.accounts import Accounts
from datalayer.billing.billing import Billing
from datalayer.errors import InvalidRecord
from datalayer.keys.keys import Keys
from datalayer.usage.usage import Usage
from threadkeeper.commands.terminal import create_if_new, end, with_layer
from threadkeeper.pricing.files import time_in
from threadkeeper.settings.settings import Settings

T = TypeVar("T")


class UsageStore(Accounts, Billing, Keys, Usage):
    """Accounts, prices, projects, limits, keys and calls of one database."""


def with_usage(settings: Settings, work: Callable[[UsageStore], Awaitable[T]]) -> T:
    """The result of `work`. Creates a missing schema first. Errors end the command with a message."""

    async def create_and_work(store: UsageStore) -> T:
        await create_if_new(store)
        return await work(store)

    return with_layer(UsageStore, settings, create_and_work, new=True)


def new_id() -> str:
    return str(uuid.uuid4())


def amount_of(text: str, what: str) -> Decimal:
    """The text as a number. If it is not a number of at least 0, the command ends."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        end(f"{what} must be a number, as in 0.15, not {text!r}.", 1)
    if not amount.is_finite() or amount < 0:
        end(f"{what} must be a number of at least 0, not {text!r}.", 1)
    return amount


def time_of(text: str, what: str, zone: str) -> str:
    """The text as a stored time. If it is not a valid time, the command ends.

    Args:
        zone: the time zone of times that have none.
    """
    try:
        return time_in(text, zone)
    except InvalidRecord:
        end(f"{what} must be a date, as in 2026-03-01 or 2026-03-01T12:00:00Z, not {text!r}.", 1)


def time_for_display(moment: str, zone: str) -> str:
    """A stored time for display in this zone: to the second, with the offset from UTC."""
    return datetime.fromisoformat(moment).astimezone(ZoneInfo(zone)).isoformat(" ", "seconds")
