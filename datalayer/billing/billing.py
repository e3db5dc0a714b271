"""Prices, projects and limits, as the chat, the screens and the command line need them.

Everybody may read them; only the system may change them: who may act as the system is for the application to say.
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from functools import cached_property

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.billing import limits, prices, projects, repricing
from datalayer.billing.price_patterns import compile_pattern
from datalayer.billing.spending import Spending
from datalayer.cleaning import clean_id, clean_text, clean_time, utc_in, utc_now
from datalayer.errors import InvalidRecord
from datalayer.ownership import acting_user, demand_system
from datalayer.records.usage import (
    CallDemand,
    Limit,
    LimitReached,
    LimitStanding,
    LlmCall,
    Price,
    Project,
    Repricing,
    Reservation,
)
from datalayer.store import DataStore

DEFAULT_PROJECT = "default"
"""The slug of the project that holds the chat's own calls."""

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_SMALLEST = Decimal("1E-12")
_DEAREST = Decimal(1_000_000)
_HIGHEST = Decimal(10**11)


class Billing(DataStore):
    """Keeps what calls cost, belong to and may come to."""

    @cached_property
    def _spending(self) -> Spending:
        return Spending()

    # Prices

    async def list_prices(self) -> list[Price]:
        """Every price, ended ones too, the newest first: the first that fits a call is the one that holds for it."""
        return await self.database.query(prices.list_all)

    async def add_price(self, price: Price) -> Price:
        """Add a price; what it is for has it from `valid_from` on. Gives it as it is stored.

        Raises:
            InvalidRecord: the pattern is no regular expression or could take too long, or an amount cannot be.
        """
        return (await self.add_prices([price]))[0]

    async def add_prices(self, new: Sequence[Price]) -> list[Price]:
        """Add prices, all of them or none; raises as `add_price` does."""
        demand_system(acting_user.get(), "the change of prices")
        cleaned = [clean_price(price) for price in new]
        await self._writer.submit(lambda connection: prices.add(connection, cleaned))
        return cleaned

    async def deactivate_price(self, price_id: str) -> None:
        """Let a price hold for no call any more. Those that were priced by it keep what they cost until `reprice`.

        Raises:
            NotFound: there is no such price.
        """
        demand_system(acting_user.get(), "the change of prices")
        known = clean_id(price_id, "id of a price")
        await self._writer.submit(lambda connection: prices.deactivate(connection, known))

    async def reprice(
        self, since: str, cost_of: repricing.CostOf, *, forget: bool = False, dry_run: bool = True
    ) -> Repricing:
        """Price the calls from that time on anew; only those that come to another cost are changed.

        It goes forward in steps, each of which stands once it is stored: one that was broken off is done again.

        Args:
            since: the time of the first call that may change.
            cost_of: what a call costs by what is known today; None where nobody knows.
            forget: let a cost become unknown where nobody knows a price of the call any more; else it stays.
            dry_run: only say what would be changed.

        Raises:
            InvalidRecord: it is no time.
        """
        demand_system(acting_user.get(), "pricing anew")
        begin = clean_time(since, "time")
        if begin is None:
            raise InvalidRecord("pricing anew needs a time to begin at")
        left_out = await self.database.query(lambda connection: repricing.count_without_tokens(connection, begin))
        done = Repricing(without_tokens=left_out)
        async for calls in repricing.with_tokens(self.database, begin):
            new: list[tuple[LlmCall, repricing.CallCosts]] = []
            unlisted: list[LlmCall] = []
            for call in calls:
                costs = cost_of(call)
                if costs is None:
                    unlisted += [call] if call.total_cost is not None else []
                elif repricing.is_changed(call, costs):
                    new.append((call, costs))
            if new and not dry_run:
                stored = [(call.id, costs) for call, costs in new]
                await self._writer.submit(lambda connection, stored=stored: repricing.store(connection, stored))  # type: ignore[misc]
            if unlisted and forget and not dry_run:
                await self._writer.submit(lambda connection, gone=unlisted: repricing.forget(connection, gone))  # type: ignore[misc]
            done = replace(
                done,
                calls=done.calls + len(calls),
                changed=done.changed + len(new),
                had_none=done.had_none + sum(call.total_cost is None for call, _ in new),
                before=done.before + sum((call.total_cost or Decimal(0) for call, _ in new), Decimal(0)),
                after=done.after + sum((costs.total for _, costs in new), Decimal(0)),
                unlisted=done.unlisted + len(unlisted),
                unlisted_cost=done.unlisted_cost
                + sum((call.total_cost or Decimal(0) for call in unlisted), Decimal(0)),
            )
        return done

    # Projects

    async def list_projects(self) -> list[Project]:
        """Every project with its providers, by slug."""
        return await self.database.query(projects.list_all)

    async def put_project(self, project: Project) -> Project:
        """Store the project; one of the same slug is replaced, and keeps its id.

        Raises:
            InvalidRecord: a slug is no slug, a name is empty, or a secret is no name of a variable.
            NotFound: there is no user of the owner's name.
        """
        demand_system(acting_user.get(), "the change of projects")
        cleaned = _clean_project(project)
        stored: str = await self._writer.submit(
            lambda connection: projects.upsert(connection, self.database.dialect, cleaned)
        )
        return replace(cleaned, id=stored)

    async def default_project(self) -> str:
        """The id of the project that holds the chat's own calls; it is made where it is not there."""
        found = await self.database.query(lambda connection: projects.id_of(connection, DEFAULT_PROJECT))
        if found is not None:
            return found
        new = Project(str(uuid.uuid4()), "Default", DEFAULT_PROJECT, created_at=utc_now())

        async def make(connection: AsyncConnection) -> str:
            return await projects.id_of(connection, DEFAULT_PROJECT) or await projects.upsert(
                connection, self.database.dialect, new
            )

        made: str = await self._writer.submit(make)
        return made

    # Limits

    async def list_limits(self) -> list[Limit]:
        """Every limit, the oldest first."""
        return await self.database.query(limits.list_all)

    async def put_limit(self, limit: Limit) -> Limit:
        """Store a limit; where there is one of the same scope, subject, period and unit, it gets this amount.

        Raises:
            InvalidRecord: it makes no sense.
        """
        demand_system(acting_user.get(), "the change of limits")
        cleaned = _clean_limit(limit)
        stored: str = await self._writer.submit(lambda connection: limits.put(connection, cleaned))
        return replace(cleaned, id=stored)

    async def remove_limit(self, limit_id: str) -> None:
        """Raises NotFound where there is no such limit."""
        demand_system(acting_user.get(), "the change of limits")
        known = clean_id(limit_id, "id of a limit")
        await self._writer.submit(lambda connection: limits.remove(connection, known))

    async def limit_standings(self, user_id: str | None, project_id: str | None, *, zone: str) -> list[LimitStanding]:
        """How far each limit that concerns this user in this project is used up now."""
        return await self.database.query(
            lambda connection: limits.standings(connection, user_id, project_id, zone=zone, moment=utc_now())
        )

    async def reserve(self, demand: CallDemand, *, zone: str, seconds: float) -> Reservation | LimitReached:
        """Set aside what a call may come to at most, so that others who ask meanwhile are not promised it too.

        Args:
            demand: what the call needs; its answer is promised fewer tokens where fewer are left.
            zone: days and months are those of this time zone.
            seconds: after that time it counts no more, whether it was released or not.
        """

        whose, now = (demand.user_id, demand.project_id), utc_now()
        accounts = [
            limits.account_of(limit, *whose, zone=zone, moment=now)
            for limit in await self.list_limits()
            if limits.concerns(limit, *whose)
        ]
        spent = await self._spending.so_far(self.database, accounts)

        async def set_aside(connection: AsyncConnection) -> Reservation | LimitReached:
            return await limits.reserve(
                connection, demand, zone=zone, moment=utc_now(), expires_at=utc_in(seconds), spent=spent
            )

        answer: Reservation | LimitReached = await self._writer.submit(set_aside)
        return answer

    async def extend(self, call_id: str, *, seconds: float) -> None:
        """Let what was reserved for a call that is still under way count for so long from now on."""
        await self._writer.submit(lambda connection: limits.extend(connection, call_id, expires_at=utc_in(seconds)))

    async def release(self, call_id: str) -> None:
        """Give back what was reserved for a call. Queued before the first await, behind the call's own row."""
        await self._writer.submit(lambda connection: limits.release(connection, [call_id], moment=utc_now()))


def clean_price(price: Price) -> Price:
    """The price in the one form that is kept.

    Raises:
        InvalidRecord: it cannot be kept.
    """
    compile_pattern(price.pattern)
    valid_from = clean_time(price.valid_from, "time of a price")
    if valid_from is None:
        raise InvalidRecord("a price needs a time from which it is valid")
    return replace(
        price,
        id=clean_id(price.id, "id of a price"),
        pattern=clean_text(price.pattern),
        provider=clean_text(price.provider).strip().lower() or None if price.provider else None,
        valid_from=valid_from,
        input=_amount(price.input, "input"),
        output=_amount(price.output, "output"),
        cached=None if price.cached is None else _amount(price.cached, "cached"),
        image=None if price.image is None else _amount(price.image, "image"),
        created_at=utc_now(),
    )


def _amount(value: Decimal, what: str) -> Decimal:
    if _is_kept_whole(value, _DEAREST):
        return value
    raise InvalidRecord(f"the price {what} must be from 0 to {_DEAREST:,} dollars, with twelve digits after the point")


def _is_kept_whole(value: Decimal, most: Decimal) -> bool:
    try:
        return 0 <= value <= most and value == value.quantize(_SMALLEST)
    except InvalidOperation:
        return False


def _clean_project(project: Project) -> Project:
    if not project.name.strip():
        raise InvalidRecord("a project needs a name")
    for slug in (project.slug, *(provider.slug for provider in project.providers)):
        if not _SLUG.fullmatch(slug):
            raise InvalidRecord(f"{clean_text(slug)!r} is no slug: small letters and digits, with hyphens between")
    if len({provider.slug for provider in project.providers}) < len(project.providers):
        raise InvalidRecord("two providers have the same slug")
    for provider in project.providers:
        if provider.secret is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", provider.secret):
            # Whoever puts the key itself here must not find it in a message or a table later.
            raise InvalidRecord("a secret is named by its environment variable, in capitals; the key is never kept")
    return replace(
        project,
        id=clean_id(project.id, "id of a project"),
        name=clean_text(project.name.strip()),
        description=_text(project.description),
        organisation=_text(project.organisation),
        tags=tuple(dict.fromkeys(clean_text(tag) for tag in project.tags)),
        created_at=utc_now(),
    )


def _text(text: str | None) -> str | None:
    return clean_text(text) if text else None


def _clean_limit(limit: Limit) -> Limit:
    if limit.scope not in ("user", "users", "project"):
        raise InvalidRecord("a limit is for a user, for each of the users, or for a project")
    if limit.period not in ("day", "month") or limit.unit not in ("tokens", "dollars"):
        raise InvalidRecord("a limit is of tokens or dollars in a day or a month")
    if (limit.subject_id is None) != (limit.scope == "users"):
        raise InvalidRecord("a limit for a user or a project names which, and one for each user names none")
    if not _is_kept_whole(limit.amount, _HIGHEST):
        raise InvalidRecord(f"a limit is from 0 to {_HIGHEST:,}")
    if limit.unit == "tokens" and limit.amount != int(limit.amount):
        raise InvalidRecord("a limit in tokens is a whole number")
    subject = None if limit.subject_id is None else clean_id(limit.subject_id, "id of what a limit is for")
    return replace(limit, id=clean_id(limit.id, "id of a limit"), subject_id=subject, created_at=utc_now())
