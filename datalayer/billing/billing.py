"""Public methods for prices, projects and limits.

Every user may read them. Only the system may change them; the application decides what runs as the system.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.billing import prices, projects, repricing
from datalayer.billing.cleaning import clean_price, clean_project
from datalayer.billing.limiting import Limiting, note
from datalayer.cleaning import clean_id, clean_text, clean_time, utc_now
from datalayer.conditions import Condition
from datalayer.errors import InvalidRecord
from datalayer.ownership import SYSTEM, acting_user, demand_system, recorded
from datalayer.records.billing import Repricing
from datalayer.records.usage import (
    DeletedProject,
    LlmCall,
    Price,
    Project,
)
from datalayer.review import audit
from datalayer.writes.repeats import conditional, deletion

DEFAULT_PROJECT = "default"
"""The slug of the project of the chat's own calls."""
_MOST_NOTED = 100
"""Prices of an import whose ids and models are in the audit, beside their count."""


class Billing(Limiting):
    """Prices, projects and limits of calls. Methods that change something raise Forbidden for users and visitors."""

    # Prices

    async def list_prices(self) -> list[Price]:
        """All prices, ended ones too, newest first. The first one that matches a call is its price."""
        return await self.database.query(prices.list_all)

    async def add_price(self, price: Price, *, by: str | None = None) -> Price:
        """Add a price that holds from its `valid_from` on; returns it as stored. For example:

            await layer.add_price(Price(str(uuid4()), "gpt-4o(-.*)?", "2026-01-01", Decimal("2.5"), Decimal(10)))

        Args:
            price: to be stored.
            by: the admin in whose name it is done, for the audit.

        Raises:
            InvalidRecord: the pattern is not a regular expression or could take too long to match, or a time or an
                amount is not valid.
        """
        return (await self.add_prices([price], by=by))[0]

    async def add_prices(self, new: Sequence[Price], *, by: str | None = None) -> list[Price]:
        """Add prices, all or none; if all are stored already, nothing changes. `by`, errors: as of `add_price`."""
        demand_system(acting_user.get(), "the change of prices")
        # In a thread: the patterns of a long list take long to compile.
        cleaned = await asyncio.to_thread(lambda: [clean_price(price) for price in new])

        async def add(connection: AsyncConnection) -> None:
            # A form was sent twice, or the queue repeats the write.
            if await prices.are_stored(connection, cleaned):
                return
            await prices.add(connection, cleaned)
            noted = cleaned[:_MOST_NOTED]
            details = {"prices": [one.id for one in noted], "models": [one.pattern for one in noted]}
            await note(connection, "add_price", by, **details, count=len(cleaned))

        await self._writer.submit(add)
        return cleaned

    async def deactivate_price(self, price_id: str, *, by: str | None = None) -> None:
        """End a price: no later call gets it. Calls that have it keep their cost until `reprice`.

        Args:
            price_id: of the price.
            by: the admin in whose name it is done, for the audit.

        Raises:
            NotFound: there is no such price.
        """
        demand_system(acting_user.get(), "the change of prices")
        known = clean_id(price_id, "id of a price")

        async def deactivate(connection: AsyncConnection) -> None:
            await prices.deactivate(connection, known)
            await note(connection, "end_price", by, price=known)

        await self._writer.submit(conditional(deactivate, prices.list_all))

    async def reprice(
        self,
        since: str,
        cost_of: repricing.CostOf,
        *,
        until: str | None = None,
        models: Sequence[str] = (),
        forget: bool = False,
        dry_run: bool = True,
        progressed: Callable[[Repricing], None] = lambda _done: None,
    ) -> Repricing:
        """Recalculate the costs of calls since a time, and change those that differ.

        Works in steps of 1,000 calls, each stored on its own. If it is interrupted, run it again.

        Args:
            since: the time of the first call to recalculate, ISO 8601.
            cost_of: returns the cost of a call by today's prices; None if no price matches. It is called in a thread.
            until: the time before which calls are recalculated; None for all.
            models: only calls that asked for one of these; all by default.
            forget: whether the cost of a call becomes unknown if no price matches; by default it keeps its cost.
            dry_run: whether to count only, without changes.
            progressed: called after each step with what was found and done so far. What it raises ends the repricing.

        Raises:
            InvalidRecord: the time is missing, or a time is not valid.
        """
        demand_system(acting_user.get(), "repricing")
        begin = clean_time(since, "time")
        if begin is None:
            raise InvalidRecord("repricing needs the time of the first call to reprice")
        which = repricing.chosen(begin, clean_time(until, "end"), [clean_text(model) for model in models])
        left_out = await self.database.query(lambda connection: repricing.count_without_tokens(connection, which))
        summary = repricing.Summary(left_out, forget=forget)
        async for calls in repricing.with_tokens(self.database, which):
            new: list[tuple[LlmCall, repricing.CallCosts]] = []
            unlisted: list[LlmCall] = []
            # A look into the table of published prices takes a millisecond: 1,000 would stop the loop for a second.
            computed = await asyncio.to_thread(lambda calls=calls: [cost_of(call) for call in calls])  # type: ignore[misc]
            for call, costs in zip(calls, computed, strict=True):
                if costs is None:
                    unlisted += [call] if call.total_cost is not None else []
                elif repricing.is_changed(call, costs):
                    new.append((call, costs))
            if new and not dry_run:
                stored = [(call.id, costs) for call, costs in new]
                await self._writer.submit(lambda connection, stored=stored: repricing.store(connection, stored))  # type: ignore[misc]
            if unlisted and forget and not dry_run:
                await self._writer.submit(lambda connection, ids=unlisted: repricing.forget(connection, ids))  # type: ignore[misc]
            summary.add(calls, new, unlisted)
            progressed(summary.repricing)
        return summary.repricing

    # Projects

    async def list_projects(self) -> list[Project]:
        """All projects with their providers, by slug."""
        return await self.database.query(projects.list_all)

    async def put_project(
        self,
        project: Project,
        *,
        by: str | None = None,
        is_new: bool = False,
        only_if: Condition[Project] | None = None,
    ) -> Project:
        """Store a project, or replace the one with the same slug, whose id stays; returns it as stored.

        Args:
            project: to be stored.
            by: the admin in whose name it is done, for the audit.
            is_new: whether there must be no project with this slug, in the same statement.
            only_if: what the stored project must be like, in the same transaction.

        Raises:
            AlreadyExists: there is one.
            RecordChanged: it is not.
            InvalidRecord: the name is empty, a slug is not valid or occurs twice, or a secret is not the name of an
                environment variable.
            NotFound: no user has the owner's identifier.
        """
        demand_system(acting_user.get(), "the change of projects")
        cleaned = clean_project(project)

        async def put(connection: AsyncConnection) -> Project:
            await projects.demand(connection, cleaned.slug, only_if)
            stored = await projects.upsert(connection, self.database.dialect, cleaned, is_new=is_new)
            await note(connection, "put_project", by, project=stored.id, slug=cleaned.slug)
            return stored

        async def read(connection: AsyncConnection) -> Project | None:
            return await projects.get(connection, cleaned.slug)

        stored: Project = await self._writer.submit(conditional(put, read))
        return stored

    async def delete_project(
        self, slug: str, *, by: str | None = None, only_if: Condition[Project] | None = None
    ) -> DeletedProject:
        """Delete a project with its providers and limits, and revoke its keys. Its owner, admins and the system may.

        Its calls stay in the books, without a project. The audit says who did it. A project with many calls is deleted
        in several transactions, between which others write: its keys are revoked by the first. If that is interrupted,
        or the project changed meanwhile, the same call goes on.

        Args:
            slug: of the project.
            by: the admin in whose name the system does it, for the audit.
            only_if: what the stored project must be like, in the same transaction.

        Raises:
            RecordChanged: it is not.
            NotFound: there is no such project.
            Forbidden: it belongs to somebody else.
            InvalidRecord: it is the chat's own project.
        """
        actor, cleaned = acting_user.get(), clean_text(slug)
        if cleaned == DEFAULT_PROJECT:
            raise InvalidRecord(f"the project {DEFAULT_PROJECT} is the chat's own and cannot be deleted")
        who = by if actor is SYSTEM else recorded(actor)[0]

        async def remove(
            connection: AsyncConnection, since: str
        ) -> tuple[str | None, dict[str, str], DeletedProject | None]:
            await projects.demand(connection, cleaned, only_if)
            project_id, owners = await projects.revoke_keys(connection, cleaned, actor, utc_now())
            for key_id, owner_id in owners.items():
                await audit.note(connection, "revoke_key", who, [(None, owner_id)], details={"key": key_id})
            if (following := await projects.detach_calls(connection, project_id, since)) is not None:
                return following, owners, None
            deleted = await projects.remove(connection, project_id, cleaned)
            await note(connection, "delete_project", who, project=deleted.id, slug=cleaned, limits=list(deleted.limits))
            return None, owners, deleted

        since, keys = "", dict[str, str]()
        done: DeletedProject | None = None
        while done is None:
            since, revoked, done = await self._writer.submit(deletion(partial(remove, since=since)))
            keys |= revoked
        return replace(done, keys=tuple(sorted(keys)))

    async def project_id(self, slug: str) -> str | None:
        """The id of the project with this slug; None if there is none."""
        cleaned = clean_text(slug)
        return await self.database.query(lambda connection: projects.id_of(connection, cleaned))

    async def default_project(self) -> str:
        """The id of the chat's own project, which is created if it does not exist."""
        found = await self.database.query(lambda connection: projects.id_of(connection, DEFAULT_PROJECT))
        if found is not None:
            return found
        new = Project(str(uuid.uuid4()), "Default", DEFAULT_PROJECT, created_at=utc_now())

        async def make(connection: AsyncConnection) -> str:
            found = await projects.id_of(connection, DEFAULT_PROJECT)
            return found or (await projects.upsert(connection, self.database.dialect, new)).id

        made: str = await self._writer.submit(make)
        return made
