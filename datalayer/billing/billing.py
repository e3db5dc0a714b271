"""Prices, projects and limits, as the chat, the screens and the command line need them.

Everybody may read them; only the system may change them: who may act as the system is for the application to say.
"""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cached_property

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.billing import limits, prices, projects, repricing
from datalayer.billing.cleaning import clean_limit, clean_price, clean_project
from datalayer.billing.spending import Spending
from datalayer.cleaning import clean_id, clean_time, utc_in, utc_now
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
from datalayer.store import GuardedStore

DEFAULT_PROJECT = "default"
"""The slug of the project that holds the chat's own calls."""


class Billing(GuardedStore):
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
        cleaned = clean_project(project)
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
        cleaned = clean_limit(limit)
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
        budgets = [
            limits.budget_of(limit, *whose, zone=zone, moment=now)
            for limit in await self.list_limits()
            if limits.concerns(limit, *whose)
        ]
        spent = await self._spending.so_far(self.database, budgets)

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
